{{ config(materialized='materialized_view') }}
select count(*) as orders from {{ source('raw', 'orders') }}
