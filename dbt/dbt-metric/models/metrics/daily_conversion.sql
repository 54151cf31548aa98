select
    session_date as date_day,
    device_type,
    count(*) as session_count,
    count(*) filter (where has_viewed_product) as product_view_sessions,
    count(*) filter (where has_filled_cart) as cart_sessions,
    count(*) filter (where has_begun_checkout) as checkout_sessions,
    count(*) filter (where has_ordered) as order_sessions,
    round(count(*) filter (where has_ordered)::numeric / count(*), 4) as conversion_rate
from {{ ref('fct_sessions') }}
group by session_date, device_type
