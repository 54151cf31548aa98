{{ config(materialized='incremental', unique_key='id') }}
select id from {{ ref('m13') }}
inner join {{ ref('m14') }} using (id)
cross join pg_sleep(0.1)
