-- The Mage pipeline run made beside a run that somebody asked for by the API or the tool: an event
-- of kind `mage`. It comes after the run, when Mage answers, so it cannot stand in the run's row.

create unique index one_mage_run on ledger.event (run) where kind = 'mage';

comment on index ledger.one_mage_run is
    'A run has one Mage pipeline run, or one note that it has none.';

create or replace view ledger.run_now as
select
    run.id,
    run.asked_at,
    run.idempotency_key,
    run.operation,
    run.cause,
    run.caller,
    run.why,
    run.request,
    run.commit,
    run.commit_subject,
    run.target,
    run.dbt_version,
    coalesce(run.mage_run, (
        select (data ->> 'mage_run')::bigint from ledger.event
        where event.run = run.id and kind = 'mage'
    )) as mage_run,
    run.follows,
    run.morning,
    run.late_seconds,
    last_state.data ->> 'state' as state,
    coalesce(last_state.data ->> 'detail', '') as detail,
    begun.at as started_at,
    case when last_state.data ->> 'state' in ('Success', 'Error', 'Cancelled')
        then last_state.at end as finished_at,
    coalesce(plan.data -> 'names', '[]'::jsonb) as planned,
    coalesce(plan.data -> 'warnings', '[]'::jsonb) as warnings
from ledger.run
cross join lateral (
    select at, data from ledger.event
    where event.run = run.id and kind = 'state' order by seq desc limit 1
) as last_state
left join lateral (
    select at from ledger.event
    where event.run = run.id and kind = 'state' and data ->> 'state' = 'Running'
    order by seq limit 1
) as begun on true
left join lateral (
    select data from ledger.event
    where event.run = run.id and kind = 'plan' order by seq desc limit 1
) as plan on true;
