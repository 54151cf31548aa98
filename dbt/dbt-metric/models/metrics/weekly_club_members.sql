{{ config(indexes=[{'columns': ['week_start'], 'unique': true}]) }}

with memberships as (

    select * from {{ ref('fct_subscriptions') }}

),

-- up to the last change we know of; the future is not a week without joiners
weeks as (

    select distinct
        week_start,
        week_start + 6 as week_end
    from {{ ref('dim_dates') }}
    where date_day between
        (select min(started_on) from memberships)
        and (select max(greatest(started_on, paid_until)) from memberships)

)

select
    weeks.week_start,
    count(*) filter (where memberships.started_on >= weeks.week_start) as joined_members,
    count(*) filter (
        where memberships.paid_until between weeks.week_start and weeks.week_end
    ) as lost_members,
    count(*) filter (
        where memberships.paid_until is null or memberships.paid_until > weeks.week_end
    ) as paying_members,
    coalesce(sum(memberships.monthly_price) filter (
        where memberships.paid_until is null or memberships.paid_until > weeks.week_end
    ), 0) as monthly_recurring_revenue
from weeks
inner join memberships on memberships.started_on <= weeks.week_end
group by weeks.week_start
