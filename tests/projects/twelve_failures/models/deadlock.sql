{{ config(pre_hook="{% if fails('deadlock') %}{{ hold(1, 2) }}{% endif %}") }}
select 1 as id
