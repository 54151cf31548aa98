{{ config(severity="warn") }}
select id from {{ ref("fct_orders") }} where discount > 4
