-- It has what `deadlock` waits for, wants what `deadlock` has, and passes.
{{ config(pre_hook="{% if fails('deadlock') %}{{ hold(2, 1) }}{% endif %}") }}
select 1 as id
