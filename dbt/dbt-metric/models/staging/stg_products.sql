select
    product_id,
    sku,
    -- names look like "Monstera, small"
    split_part(product_name, ', ', 1) as product_name,
    split_part(product_name, ', ', 2) as product_size,
    category,
    unit_price,
    unit_cost,
    is_active,
    launched_on
from {{ source('shop', 'products') }}
