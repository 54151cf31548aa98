select
    refund_id,
    order_id,
    payment_id,
    amount,
    coalesce(reason, 'not_given') as reason,
    refunded_at
from {{ source('shop', 'refunds') }}
