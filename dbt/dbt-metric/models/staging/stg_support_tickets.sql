select
    ticket_id,
    customer_id,
    order_id,
    topic,
    priority,
    status,
    opened_at,
    opened_at::date as opened_date,
    first_reply_at,
    solved_at,
    satisfaction_score
from {{ source('support', 'support_tickets') }}
