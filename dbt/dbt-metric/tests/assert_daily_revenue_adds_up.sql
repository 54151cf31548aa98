-- No order may get lost or be counted twice on its way to the daily figures.
with orders as (

    select sum(net_revenue) as net_revenue from {{ ref('fct_orders') }}

),

days as (

    select sum(net_revenue) as net_revenue from {{ ref('daily_revenue') }}

)

select
    orders.net_revenue as revenue_of_orders,
    days.net_revenue as revenue_of_days
from orders
cross join days
where orders.net_revenue is distinct from days.net_revenue
