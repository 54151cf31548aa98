with sales as (

    select
        week_start,
        max(days_with_orders) as days_covered,
        sum(order_count) as order_count,
        sum(net_revenue) as net_revenue
    from {{ ref('rpt_weekly_sales') }}
    group by week_start

),

visits as (

    select
        week_start,
        sum(session_count) as session_count,
        sum(order_sessions) as order_sessions
    from {{ ref('rpt_site_funnel') }}
    group by week_start

),

weeks as (

    select
        sales.week_start,
        sales.days_covered,
        visits.session_count,
        round(visits.order_sessions / visits.session_count, 4) as conversion_rate,
        sales.order_count,
        sales.net_revenue,
        lag(sales.net_revenue) over (order by sales.week_start) as previous_revenue,
        lag(sales.days_covered) over (order by sales.week_start) as previous_days_covered
    from sales
    left join visits on sales.week_start = visits.week_start

)

select
    week_start,
    days_covered,
    session_count,
    conversion_rate,
    order_count,
    net_revenue,
    -- part of a week next to a whole one would look like a collapse
    case
        when days_covered = 7 and previous_days_covered = 7 then net_revenue - previous_revenue
    end as change_on_previous_week
from weeks
