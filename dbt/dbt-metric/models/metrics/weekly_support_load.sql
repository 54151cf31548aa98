select
    date_trunc('week', opened_date)::date as week_start,
    topic,
    count(*) as ticket_count,
    count(*) filter (where status <> 'solved') as unsolved_count,
    round(avg(hours_to_first_reply), 1) as average_hours_to_first_reply,
    round(avg(is_answered_in_time::integer), 4) as answered_in_time_rate,
    round(avg(satisfaction_score), 2) as average_satisfaction
from {{ ref('fct_support_tickets') }}
group by 1, 2
