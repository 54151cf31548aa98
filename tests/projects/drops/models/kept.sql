{{ config(materialized='incremental', full_refresh=false, incremental_strategy='append') }}
select 1 as id, now() as built_at
{% if is_incremental() %} where false {% endif %}
