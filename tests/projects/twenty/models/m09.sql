{{ config(materialized='incremental', unique_key='id') }}
select id from {{ ref('m06') }}
inner join {{ ref('m07') }} using (id)
cross join pg_sleep(0.1)
