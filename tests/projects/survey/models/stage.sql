{{ config(materialized="view") }}
select 1 as id, 10::numeric(10, 2) as amount, 'new' as state
