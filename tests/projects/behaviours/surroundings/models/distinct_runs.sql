{{ config(materialized='table') }}
select count(*) as runs, count(distinct invocation) as invocations from {{ ref('counted') }}
