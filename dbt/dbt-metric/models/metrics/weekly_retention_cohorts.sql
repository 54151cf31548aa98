-- Only customers who signed up since the data begins: of older ones we do not know the
-- first order.
with orders as (

    select
        customer_id,
        date_trunc('week', order_date)::date as order_week
    from {{ ref('fct_orders') }}
    where not is_cancelled

),

beginning as (

    select min(order_date) as first_day from {{ ref('fct_orders') }}

),

first_orders as (

    select
        orders.customer_id,
        min(orders.order_week) as cohort_week
    from orders
    inner join {{ ref('dim_customers') }} as customers
        on orders.customer_id = customers.customer_id
    cross join beginning
    where customers.signup_date >= beginning.first_day
    group by orders.customer_id

),

sizes as (

    select
        cohort_week,
        count(*) as cohort_size
    from first_orders
    group by cohort_week

),

returns as (

    select
        first_orders.cohort_week,
        (orders.order_week - first_orders.cohort_week) / 7 as weeks_since_first_order,
        count(distinct orders.customer_id) as ordering_customers
    from first_orders
    inner join orders on first_orders.customer_id = orders.customer_id
    group by 1, 2

)

select
    returns.cohort_week,
    returns.weeks_since_first_order,
    sizes.cohort_size,
    returns.ordering_customers,
    round(returns.ordering_customers::numeric / sizes.cohort_size, 4) as retention_rate
from returns
inner join sizes on returns.cohort_week = sizes.cohort_week
