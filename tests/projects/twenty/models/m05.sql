{{ config(materialized='incremental', unique_key='id') }}
select id from {{ ref('m01') }}
cross join pg_sleep(0.1)
