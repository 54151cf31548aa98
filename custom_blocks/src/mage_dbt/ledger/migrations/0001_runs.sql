-- Runs, what happened in them, what became of their nodes, and which commits became ready.
-- Every table only grows: a run's state is the last event of kind `state`.

create table ledger.run (
    id text primary key,
    asked_at timestamptz not null,
    idempotency_key text unique,
    operation text not null,
    cause text not null,
    caller text not null,
    why text not null,
    request jsonb not null,
    commit text not null,
    commit_subject text not null,
    target text not null,
    dbt_version text not null,
    mage_run bigint,
    follows text references ledger.run,
    morning date,
    late_seconds integer not null
);

create index on ledger.run (asked_at desc);
create index on ledger.run (mage_run);

create table ledger.event (
    seq bigint generated always as identity primary key,
    run text not null references ledger.run,
    at timestamptz not null,
    kind text not null,
    data jsonb not null,
    line integer,
    unique (run, line)
);

comment on column ledger.event.line is
    'The line of the worker''s events file it came from, so that no line is taken twice.';

create index on ledger.event (run, seq);

create table ledger.node_result (
    run text not null references ledger.run,
    node text not null,
    at timestamptz not null,
    name text not null,
    type text not null,
    status text not null,
    seconds double precision not null,
    rows bigint,
    message text not null,
    because text not null,
    relation text not null,
    primary key (run, node)
);

create table ledger.commit_event (
    seq bigint generated always as identity primary key,
    at timestamptz not null,
    sha text not null,
    subject text not null,
    author text not null,
    state text not null check (state in ('ready', 'broken')),
    message text not null,
    dbt_version text not null
);

create view ledger.run_now as
select
    run.*,
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
