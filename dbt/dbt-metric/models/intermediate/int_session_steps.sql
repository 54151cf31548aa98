{{ config(indexes=[{'columns': ['session_id'], 'unique': true}]) }}

select
    session_id,
    bool_or(event_name = 'product_view') as has_viewed_product,
    bool_or(event_name = 'add_to_cart') as has_filled_cart,
    bool_or(event_name = 'begin_checkout') as has_begun_checkout,
    bool_or(event_name = 'purchase') as has_ordered,
    max(received_at) as last_received_at
from {{ ref('stg_web_events') }}
group by session_id
