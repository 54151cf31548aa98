select
    order_id,
    customer_id,
    session_id,
    sales_channel,
    status,
    status = 'cancelled' as is_cancelled,
    country_code,
    discount_code,
    discount_amount,
    shipping_amount,
    ordered_at,
    ordered_at::date as order_date,
    updated_at
from {{ source('shop', 'orders') }}
