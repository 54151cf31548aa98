{{ config(indexes=[{'columns': ['customer_id'], 'unique': true}]) }}

-- Names and addresses stay in staging: analysis does not need to know who somebody is.
with customers as (

    select * from {{ ref('stg_customers') }}

),

countries as (

    select * from {{ ref('country_regions') }}

),

orders as (

    select
        customers_orders.customer_id,
        count(*) as order_count,
        min(customers_orders.ordered_at) as first_ordered_at,
        max(customers_orders.ordered_at) as last_ordered_at,
        sum(totals.net_revenue) as lifetime_revenue
    from {{ ref('int_customer_orders') }} as customers_orders
    inner join {{ ref('int_order_totals') }} as totals
        on customers_orders.order_id = totals.order_id
    group by customers_orders.customer_id

),

members as (

    select
        customer_id,
        bool_or(status = 'active') as is_club_member
    from {{ ref('stg_subscriptions') }}
    group by customer_id

)

select
    customers.customer_id,
    customers.country_code,
    countries.country_name,
    countries.region,
    customers.signup_channel,
    customers.accepts_marketing,
    customers.created_at,
    customers.created_at::date as signup_date,
    coalesce(members.is_club_member, false) as is_club_member,
    coalesce(orders.order_count, 0) as order_count,
    orders.first_ordered_at,
    orders.last_ordered_at,
    coalesce(orders.lifetime_revenue, 0) as lifetime_revenue,
    case
        when orders.order_count is null then 'no order yet'
        when orders.order_count = 1 then 'one order'
        when orders.order_count <= 3 then 'occasional'
        else 'regular'
    end as customer_segment
from customers
left join countries on customers.country_code = countries.country_code
left join orders on customers.customer_id = orders.customer_id
left join members on customers.customer_id = members.customer_id
