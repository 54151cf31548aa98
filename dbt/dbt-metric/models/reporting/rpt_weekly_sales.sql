select
    date_trunc('week', order_date)::date as week_start,
    region,
    count(distinct order_date) as days_with_orders,
    sum(order_count) as order_count,
    sum(item_count) as item_count,
    sum(net_revenue) as net_revenue,
    round(sum(net_revenue) / sum(order_count), 2) as revenue_per_order
from {{ ref('rpt_daily_sales') }}
group by 1, 2
