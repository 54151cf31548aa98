select * from {{ ref('fct_orders') }} where country is null
