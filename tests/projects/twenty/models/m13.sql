{{ config(materialized='incremental', unique_key='id') }}
select id from {{ ref('m10') }}
inner join {{ ref('m11') }} using (id)
cross join pg_sleep(0.1)
