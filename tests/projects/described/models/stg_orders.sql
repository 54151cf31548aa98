{{ config(materialized="view") }}
select id, amount, discount from {{ ref("raw_orders") }}
