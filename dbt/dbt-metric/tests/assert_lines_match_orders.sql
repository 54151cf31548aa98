-- The lines of an order must add up to its subtotal.
with lines as (

    select
        order_id,
        sum(line_amount) as line_total
    from {{ ref('fct_order_items') }}
    group by order_id

)

select
    orders.order_id,
    orders.subtotal,
    lines.line_total
from {{ ref('fct_orders') }} as orders
left join lines on orders.order_id = lines.order_id
where orders.subtotal is distinct from lines.line_total
