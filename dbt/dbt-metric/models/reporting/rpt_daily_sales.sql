select
    order_date,
    region,
    sales_channel,
    count(*) as order_count,
    sum(item_count) as item_count,
    sum(net_revenue) as net_revenue
from {{ ref('fct_orders') }}
where not is_cancelled
group by order_date, region, sales_channel
