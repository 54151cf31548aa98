-- What was told, once an event, and what became of it on each channel. Both tables only grow.

create table ledger.alert (
    key text primary key,
    at timestamptz not null,
    kind text not null check (kind in ('failure', 'recovery', 'overdue', 'broken')),
    run text references ledger.run on delete cascade,
    story text,
    title text not null,
    body text not null,
    channels text[] not null
);

comment on column ledger.alert.key is
    'What happened, such as failure:<run>; one event is one alert, across restarts.';
comment on column ledger.alert.story is
    'The run that the alert''s run goes back to by reruns; itself when it is none.';
comment on column ledger.alert.channels is
    'Keyed digests of the addresses it is meant for; an address itself is never kept.';

create index on ledger.alert (at);
create index on ledger.alert (story);

create table ledger.alert_delivery (
    seq bigint generated always as identity primary key,
    alert text not null references ledger.alert on delete cascade,
    at timestamptz not null,
    channel text not null,
    label text not null,
    outcome text not null check (outcome in ('delivered', 'failed', 'not delivered')),
    detail text not null,
    seconds double precision not null
);

comment on column ledger.alert_delivery.outcome is
    'One row a try: delivered and not delivered are the end, failed is tried again.';

create index on ledger.alert_delivery (alert, channel);

create index on ledger.event (at) where kind = 'state';

create trigger append_only before update or delete on ledger.alert
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.alert_delivery
    for each row execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.alert
    for each statement execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.alert_delivery
    for each statement execute function ledger.refuse_change();

-- Alerts of a run go with the run; the others by their age.
create or replace function ledger.forget(before timestamptz) returns bigint
language plpgsql security definer set search_path = ledger, pg_temp as $$
declare
    forgotten bigint;
begin
    perform set_config('ledger.forgetting', 'yes', true);
    delete from ledger.commit_event where at < before;
    delete from ledger.plan where at < before;
    delete from ledger.alert where at < before and run is null;
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
