select
    session_id,
    visitor_id,
    customer_id,
    started_at,
    started_at::date as session_date,
    extract(epoch from ended_at - started_at)::integer as duration_seconds,
    device_type,
    country_code,
    coalesce(channel, 'unknown') as marketing_channel,
    campaign,
    page_views,
    loaded_at
from {{ source('web', 'web_sessions') }}
