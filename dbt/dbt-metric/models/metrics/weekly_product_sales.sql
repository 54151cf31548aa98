with items as (

    select * from {{ ref('fct_order_items') }}
    where not is_cancelled

),

products as (

    select * from {{ ref('dim_products') }}

),

sums as (

    select
        date_trunc('week', order_date)::date as week_start,
        product_id,
        sum(quantity) as quantity_sold,
        sum(line_amount) as sales_amount,
        sum(line_margin) as margin_amount
    from items
    group by 1, 2

)

select
    sums.week_start,
    sums.product_id,
    products.product_name,
    products.product_size,
    products.category,
    sums.quantity_sold,
    sums.sales_amount,
    sums.margin_amount,
    rank() over (partition by sums.week_start order by sums.sales_amount desc) as rank_in_week
from sums
inner join products on sums.product_id = products.product_id
