select
    date_trunc('week', session_date)::date as week_start,
    marketing_channel,
    count(*) as session_count,
    count(*) filter (where has_viewed_product) as product_view_sessions,
    count(*) filter (where has_filled_cart) as cart_sessions,
    count(*) filter (where has_begun_checkout) as checkout_sessions,
    count(*) filter (where has_ordered) as order_sessions
from {{ ref('fct_sessions') }}
group by 1, 2
