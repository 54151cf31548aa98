select
    orders.id,
    orders.discount_code
from {{ ref('stg_orders') }} as orders
