-- The queue's tables get the field's names: schema `queue` instead of `line`, an entry instead of a
-- place, a position instead of a ticket, a lease instead of a number. And whoever waits for a change
-- of the queue, or for an event, is notified of it and need not poll.

do $$
begin
    -- The tables move, because to rename a schema needs the right to create one, and an
    -- administrator may have made both. Asked first: `if not exists` needs that right as well.
    if to_regnamespace('queue') is null then
        create schema queue;
    end if;
end
$$;

alter sequence line.ticket set schema queue;
alter sequence queue.ticket rename to position;

alter table line.place set schema queue;
alter table queue.place rename to entry;
alter table queue.entry rename column number to lease;
alter table queue.entry rename column ticket to position;
alter table queue.entry rename constraint place_pkey to entry_pkey;
alter table queue.entry rename constraint place_number_key to entry_lease_key;
alter table queue.entry rename constraint place_ticket_key to entry_position_key;
alter sequence queue.place_number_seq rename to entry_lease_seq;

comment on column queue.entry.lease is
    'Names the advisory lock that is held as long as the run''s worker, or its runner, lives.';
comment on column queue.entry.position is
    'The order of arrival; null until the run is planned.';

do $$
begin
    if (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'line') then
        drop schema line;
    end if;
exception
    when dependent_objects_still_exist then
        null; -- somebody keeps something of theirs in it
end
$$;

create function queue.notify_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('mage_dbt_queue', '');
    return null;
end
$$;

create trigger notify_change after insert or update or delete on queue.entry
    for each statement execute function queue.notify_change();

comment on function queue.notify_change is
    'Wakes the runners that wait: channel mage_dbt_queue, no payload.';

create function ledger.notify_event() returns trigger language plpgsql as $$
begin
    perform pg_notify('mage_dbt_event', run) from (select distinct run from added) as runs;
    return null;
end
$$;

create trigger notify_event after insert on ledger.event
    referencing new table as added
    for each statement execute function ledger.notify_event();

comment on function ledger.notify_event is
    'Wakes those who follow a run: channel mage_dbt_event, the run''s id as payload.';
