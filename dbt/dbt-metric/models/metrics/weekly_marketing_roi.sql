-- An order belongs to the channel of the visit it was placed in.
with channels as (

    select * from {{ ref('marketing_channels') }}
    where is_paid

),

spend as (

    select
        date_trunc('week', spend_date)::date as week_start,
        marketing_channel,
        sum(clicks) as clicks,
        sum(cost) as cost
    from {{ ref('stg_ad_spend') }}
    group by 1, 2

),

orders as (

    select
        date_trunc('week', order_date)::date as week_start,
        marketing_channel,
        count(*) as order_count,
        sum(net_revenue) as net_revenue
    from {{ ref('fct_orders') }}
    where not is_cancelled
    group by 1, 2

)

select
    spend.week_start,
    spend.marketing_channel,
    channels.channel_name,
    spend.clicks,
    spend.cost,
    coalesce(orders.order_count, 0) as order_count,
    coalesce(orders.net_revenue, 0) as net_revenue,
    round(spend.cost / nullif(orders.order_count, 0), 2) as cost_per_order,
    round(coalesce(orders.net_revenue, 0) / nullif(spend.cost, 0), 2) as revenue_per_euro_spent
from spend
inner join channels on spend.marketing_channel = channels.channel
left join orders
    on
        spend.week_start = orders.week_start
        and spend.marketing_channel = orders.marketing_channel
