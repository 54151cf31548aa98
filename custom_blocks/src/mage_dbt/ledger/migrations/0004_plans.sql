-- The plans people have looked at, so that a request can name one by its digest and be told what
-- has changed since. They are forgotten with the runs.

create table ledger.plan (
    digest text primary key,
    at timestamptz not null default now(),
    commit text not null,
    what jsonb not null,
    nodes jsonb not null
);

comment on column ledger.plan.what is 'Command, flags, variables and target.';
comment on column ledger.plan.nodes is 'Unique id and name of each node, in order.';

create index on ledger.plan (at);

create trigger append_only before update or delete on ledger.plan
    for each row execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.plan
    for each statement execute function ledger.refuse_change();

-- Estimates and reruns ask for the last results of a node; stories for what follows a run.
create index on ledger.node_result (node, at desc);
create index on ledger.run (follows);

create or replace function ledger.forget(before timestamptz) returns bigint
language plpgsql security definer set search_path = ledger, pg_temp as $$
declare
    forgotten bigint;
begin
    perform set_config('ledger.forgetting', 'yes', true);
    delete from ledger.commit_event where at < before;
    delete from ledger.plan where at < before;
    delete from ledger.run
    where asked_at < before
        and id in (
            select id from ledger.run_now where state in ('Success', 'Error', 'Cancelled')
        );
    get diagnostics forgotten = row_count;
    perform set_config('ledger.forgetting', '', true);
    return forgotten;
end
$$;
