{{
    config(
        materialized='incremental',
        unique_key='session_id',
        on_schema_change='append_new_columns',
        indexes=[
            {'columns': ['session_id'], 'unique': true},
            {'columns': ['session_date']},
            {'columns': ['arrived_at']},
        ]
    )
}}

-- Phones that were offline report days late. What counts for the next run is therefore when
-- the data reached us, not when the visit took place.
with sessions as (

    select
        sessions.*,
        coalesce(steps.has_viewed_product, false) as has_viewed_product,
        coalesce(steps.has_filled_cart, false) as has_filled_cart,
        coalesce(steps.has_begun_checkout, false) as has_begun_checkout,
        coalesce(steps.has_ordered, false) as has_ordered,
        greatest(sessions.loaded_at, steps.last_received_at) as arrived_at
    from {{ ref('stg_web_sessions') }} as sessions
    left join {{ ref('int_session_steps') }} as steps
        on sessions.session_id = steps.session_id

)

select
    session_id,
    visitor_id,
    customer_id,
    session_date,
    started_at,
    duration_seconds,
    device_type,
    country_code,
    marketing_channel,
    campaign,
    page_views,
    has_viewed_product,
    has_filled_cart,
    has_begun_checkout,
    has_ordered,
    arrived_at
from sessions
{% if is_incremental() %}
where arrived_at >= {{ overlap_start('arrived_at') }}
{% endif %}
