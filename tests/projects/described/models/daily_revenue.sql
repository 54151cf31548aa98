{{ config(full_refresh=false) }}
select sum(amount) as revenue from {{ ref("fct_orders") }}
