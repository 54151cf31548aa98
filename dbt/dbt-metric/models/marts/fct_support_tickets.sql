{{ config(indexes=[{'columns': ['ticket_id'], 'unique': true}]) }}

with tickets as (

    select
        *,
        extract(epoch from first_reply_at - opened_at) / 3600 as reply_hours,
        extract(epoch from solved_at - opened_at) / 3600 as solve_hours
    from {{ ref('stg_support_tickets') }}

)

select
    ticket_id,
    customer_id,
    order_id,
    topic,
    priority,
    status,
    opened_at,
    opened_date,
    round(reply_hours, 2) as hours_to_first_reply,
    round(solve_hours, 2) as hours_to_solution,
    -- the promise to customers is an answer within eight hours
    coalesce(reply_hours <= 8, false) as is_answered_in_time,
    satisfaction_score
from tickets
