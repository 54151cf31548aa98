{{
    config(
        materialized='incremental',
        unique_key='order_item_id',
        on_schema_change='append_new_columns',
        indexes=[
            {'columns': ['order_item_id'], 'unique': true},
            {'columns': ['order_id']},
            {'columns': ['product_id']},
            {'columns': ['order_updated_at']},
        ]
    )
}}

-- Lines never change themselves, but they stop counting when their order is cancelled, so
-- they are read again whenever the order has changed.
with orders as (

    select * from {{ ref('stg_orders') }}
    {% if is_incremental() %}
    where updated_at >= {{ overlap_start('order_updated_at') }}
    {% endif %}

),

items as (

    select * from {{ ref('stg_order_items') }}

),

products as (

    select * from {{ ref('stg_products') }}

)

select
    items.order_item_id,
    items.order_id,
    items.line_number,
    items.product_id,
    orders.customer_id,
    orders.order_date,
    orders.is_cancelled,
    items.quantity,
    items.unit_price,
    items.line_amount,
    -- empty while the supplier has not told us the cost
    items.quantity * products.unit_cost as line_cost,
    items.line_amount - items.quantity * products.unit_cost as line_margin,
    orders.updated_at as order_updated_at
from orders
inner join items on orders.order_id = items.order_id
inner join products on items.product_id = products.product_id
