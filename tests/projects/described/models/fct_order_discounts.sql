select id, discount from {{ ref("fct_orders") }} where discount > 0
