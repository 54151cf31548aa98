{{ config(materialized='view') }}
{% if execute %}{% do exceptions.warn('apart is a sketch') %}{% endif %}
select null::int as id
