{{
    config(
        materialized='incremental',
        unique_key='order_id',
        on_schema_change='append_new_columns',
        indexes=[
            {'columns': ['order_id'], 'unique': true},
            {'columns': ['order_date']},
            {'columns': ['updated_at']},
        ]
    )
}}

-- An order changes until weeks after it was placed (paid, shipped, refunded), so the model
-- follows the time of the last change, not the time of the order.
with orders as (

    select * from {{ ref('stg_orders') }}
    {% if is_incremental() %}
    where updated_at >= {{ overlap_start('updated_at') }}
    {% endif %}

),

totals as (

    select * from {{ ref('int_order_totals') }}

),

positions as (

    select * from {{ ref('int_customer_orders') }}

),

sessions as (

    select * from {{ ref('stg_web_sessions') }}

),

countries as (

    select * from {{ ref('country_regions') }}

)

select
    orders.order_id,
    orders.customer_id,
    orders.session_id,
    orders.order_date,
    orders.ordered_at,
    orders.status,
    orders.is_cancelled,
    orders.sales_channel,
    -- marketplace orders have no visit of ours before them
    coalesce(sessions.marketing_channel, orders.sales_channel) as marketing_channel,
    orders.country_code,
    countries.region,
    orders.discount_code,
    positions.customer_order_number,
    positions.days_since_previous_order,
    totals.item_count,
    totals.subtotal,
    totals.discount_amount,
    totals.shipping_amount,
    totals.order_total,
    totals.paid_amount,
    totals.refunded_amount,
    totals.net_revenue,
    orders.updated_at
from orders
inner join totals on orders.order_id = totals.order_id
inner join positions on orders.order_id = positions.order_id
left join sessions on orders.session_id = sessions.session_id
left join countries on orders.country_code = countries.country_code
