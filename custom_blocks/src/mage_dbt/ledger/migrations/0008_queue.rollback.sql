drop trigger notify_event on ledger.event;
drop function ledger.notify_event;
drop trigger notify_change on queue.entry;
drop function queue.notify_change;

do $$
begin
    if to_regnamespace('line') is null then
        create schema line;
    end if;
end
$$;

alter sequence queue.entry_lease_seq rename to place_number_seq;
alter table queue.entry rename constraint entry_position_key to place_ticket_key;
alter table queue.entry rename constraint entry_lease_key to place_number_key;
alter table queue.entry rename constraint entry_pkey to place_pkey;
alter table queue.entry rename column position to ticket;
alter table queue.entry rename column lease to number;
alter table queue.entry rename to place;
alter table queue.place set schema line;

alter sequence queue.position rename to ticket;
alter sequence queue.ticket set schema line;

comment on column line.place.number is
    'Names the advisory lock that is held as long as the run''s worker, or its runner, lives.';
comment on column line.place.ticket is
    'The order of asking; null until the run is planned.';

do $$
begin
    if (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'queue') then
        drop schema queue;
    end if;
exception
    when dependent_objects_still_exist then
        null; -- somebody keeps something of theirs in it
end
$$;
