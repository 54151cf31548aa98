{{ config(indexes=[{'columns': ['order_id'], 'unique': true}]) }}

-- Each input is summed per order on its own first: joining lines, payments and refunds
-- directly would multiply the amounts.
with orders as (

    select * from {{ ref('stg_orders') }}

),

items as (

    select
        order_id,
        count(*) as line_count,
        sum(quantity) as item_count,
        sum(line_amount) as subtotal
    from {{ ref('stg_order_items') }}
    group by order_id

),

payments as (

    select
        order_id,
        sum(amount) as paid_amount
    from {{ ref('stg_payments') }}
    where payment_status = 'succeeded'
    group by order_id

),

refunds as (

    select
        order_id,
        sum(amount) as refunded_amount
    from {{ ref('stg_refunds') }}
    group by order_id

)

select
    orders.order_id,
    coalesce(items.line_count, 0) as line_count,
    coalesce(items.item_count, 0) as item_count,
    coalesce(items.subtotal, 0) as subtotal,
    orders.discount_amount,
    orders.shipping_amount,
    coalesce(items.subtotal, 0) - orders.discount_amount + orders.shipping_amount as order_total,
    coalesce(payments.paid_amount, 0) as paid_amount,
    coalesce(refunds.refunded_amount, 0) as refunded_amount,
    coalesce(payments.paid_amount, 0) - coalesce(refunds.refunded_amount, 0) as net_revenue
from orders
left join items on orders.order_id = items.order_id
left join payments on orders.order_id = payments.order_id
left join refunds on orders.order_id = refunds.order_id
