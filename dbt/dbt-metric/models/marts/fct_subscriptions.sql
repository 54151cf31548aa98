{{ config(indexes=[{'columns': ['subscription_id'], 'unique': true}]) }}

-- The snapshot holds every state a membership has had; the open one is the present.
with memberships as (

    select * from {{ ref('snap_subscriptions') }}
    where dbt_valid_to is null

)

select
    subscription_id,
    customer_id,
    plan,
    monthly_price,
    status,
    started_on,
    -- a break stops the payments just as leaving does
    case
        when status = 'cancelled' then cancelled_on
        when status = 'paused' then updated_at::date
    end as paid_until,
    status = 'active' as is_active
from memberships
