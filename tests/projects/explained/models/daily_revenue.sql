select count(*) as orders from {{ ref('fct_orders') }}
