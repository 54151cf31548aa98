{{ config(pre_hook="{% if fails('out_of_disk') %}copy (select repeat('x', 100000)) to '/dev/full'{% endif %}") }}
select 1 as id
