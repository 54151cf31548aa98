{{ config(indexes=[{'columns': ['date_day'], 'unique': true}]) }}

with orders as (

    select * from {{ ref('fct_orders') }}

),

-- from the calendar, so that a day without orders shows as zero and not as a gap
days as (

    select date_day
    from {{ ref('dim_dates') }}
    where date_day between (select min(order_date) from orders) and (select max(order_date) from orders)

),

sums as (

    select
        order_date,
        count(*) filter (where not is_cancelled) as order_count,
        count(*) filter (where is_cancelled) as cancelled_order_count,
        coalesce(sum(order_total) filter (where not is_cancelled), 0) as order_value,
        sum(refunded_amount) as refunded_amount,
        sum(net_revenue) as net_revenue
    from orders
    group by order_date

)

select
    days.date_day,
    coalesce(sums.order_count, 0) as order_count,
    coalesce(sums.cancelled_order_count, 0) as cancelled_order_count,
    coalesce(sums.order_value, 0) as order_value,
    coalesce(sums.refunded_amount, 0) as refunded_amount,
    coalesce(sums.net_revenue, 0) as net_revenue,
    round(sums.order_value / nullif(sums.order_count, 0), 2) as average_order_value,
    round(avg(coalesce(sums.net_revenue, 0)) over (
        order by days.date_day rows between 6 preceding and current row
    ), 2) as net_revenue_7_day_average
from days
left join sums on days.date_day = sums.order_date
