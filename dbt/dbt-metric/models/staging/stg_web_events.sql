select
    event_id,
    session_id,
    event_name,
    product_id,
    occurred_at,
    received_at
from {{ source('web', 'web_events') }}
