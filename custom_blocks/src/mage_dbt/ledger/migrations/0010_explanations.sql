-- What explains a failure: the server's SQLSTATE and a signature that is the same for the same
-- cause. Of results from before it is not known. Indexes for the page's lists. And the daily
-- build's time and pause, as people set them.

alter table ledger.node_result add column sqlstate text not null default '';
alter table ledger.node_result add column signature text not null default '';

comment on column ledger.node_result.signature is
    'Of a failure: a hash that is the same for the same cause; empty otherwise.';

create index node_result_signature on ledger.node_result (signature, at desc)
    where signature <> '';
create index run_morning on ledger.run (morning desc) where morning is not null;
-- A run of 15,000 nodes has twice as many events; these few of each run are asked for all the time.
create index event_beside_nodes on ledger.event (run, kind, seq)
    where kind in ('state', 'plan', 'refresh');

create index event_failing_rows on ledger.event (run) where kind = 'failing_rows';

-- Lists of runs by node and by state, where there are a hundred thousand runs.
create index node_result_name on ledger.node_result (name, at desc);

create index event_final_state on ledger.event (run)
    where kind = 'state' and data ->> 'state' in ('Success', 'Error', 'Cancelled');

create index event_cancelled on ledger.event (run)
    where kind = 'state' and data ->> 'state' = 'Cancelled';

-- How many nodes of a run had each status is read from this alone.
create index node_result_status on ledger.node_result (run, status, type, materialized);

create table ledger.schedule (
    seq bigint generated always as identity primary key,
    at timestamptz not null default now(),
    by text not null,
    why text not null,
    build_at time,
    zone text not null,
    paused boolean not null,
    paused_until timestamptz
);

comment on table ledger.schedule is
    'The last row holds; without one the settings do.';
comment on column ledger.schedule.build_at is
    'The local time that somebody has set; null while that of the settings holds.';
comment on column ledger.schedule.zone is
    'The settings'' time zone when the row was written; the present one counts.';

create trigger append_only before update or delete on ledger.schedule
    for each row execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.schedule
    for each statement execute function ledger.refuse_change();
