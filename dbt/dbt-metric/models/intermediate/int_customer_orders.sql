{{ config(indexes=[{'columns': ['order_id'], 'unique': true}]) }}

-- Cancelled orders are counted too, so that a number once given never changes.
with numbered as (

    select
        order_id,
        customer_id,
        ordered_at,
        row_number() over (partition by customer_id order by ordered_at, order_id) as customer_order_number,
        lag(ordered_at) over (partition by customer_id order by ordered_at, order_id) as previous_ordered_at
    from {{ ref('stg_orders') }}

)

select
    order_id,
    customer_id,
    ordered_at,
    customer_order_number,
    ordered_at::date - previous_ordered_at::date as days_since_previous_order
from numbered
