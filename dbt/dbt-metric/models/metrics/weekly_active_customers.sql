{{ config(indexes=[{'columns': ['week_start'], 'unique': true}]) }}

with activity as (

    select
        customer_id,
        order_date as activity_date,
        true as is_order
    from {{ ref('fct_orders') }}

    union all

    select
        customer_id,
        session_date as activity_date,
        false as is_order
    from {{ ref('fct_sessions') }}
    where customer_id is not null

),

customers as (

    select * from {{ ref('dim_customers') }}

),

calendar as (

    select * from {{ ref('dim_dates') }}

)

select
    calendar.week_start,
    -- the first and the last week are not complete
    count(distinct activity.activity_date) as days_covered,
    count(distinct activity.customer_id) as active_customers,
    count(distinct activity.customer_id) filter (where activity.is_order) as ordering_customers,
    count(distinct activity.customer_id) filter (
        where customers.signup_date >= calendar.week_start
    ) as new_customers,
    count(distinct activity.customer_id) filter (
        where customers.signup_date < calendar.week_start
    ) as returning_customers
from activity
inner join customers on activity.customer_id = customers.customer_id
inner join calendar on activity.activity_date = calendar.date_day
group by calendar.week_start
