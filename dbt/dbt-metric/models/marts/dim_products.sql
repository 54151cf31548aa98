{{ config(indexes=[{'columns': ['product_id'], 'unique': true}]) }}

select
    product_id,
    sku,
    product_name,
    product_size,
    category,
    unit_price,
    unit_cost,
    round((unit_price - unit_cost) / unit_price, 3) as margin_rate,
    is_active,
    launched_on
from {{ ref('stg_products') }}
