select
    subscription_id,
    customer_id,
    plan,
    monthly_price,
    status,
    started_on,
    cancelled_on,
    updated_at
from {{ source('shop', 'subscriptions') }}
