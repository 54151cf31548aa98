-- History cannot be changed: a row that is there stays as it is, whoever asks. Only
-- `ledger.forget` removes runs, whole and old ones, when the retention setting says so.

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
    if current_setting('ledger.forgetting', true) = 'yes' then
        return coalesce(new, old);
    end if;
    raise exception 'The ledger is append-only: % of ledger.% is refused.', tg_op, tg_table_name;
end
$$;

alter table ledger.run
    drop constraint run_follows_fkey,
    add foreign key (follows) references ledger.run on delete set null;
alter table ledger.event
    drop constraint event_run_fkey,
    add foreign key (run) references ledger.run on delete cascade;
alter table ledger.node_result
    drop constraint node_result_run_fkey,
    add foreign key (run) references ledger.run on delete cascade;

create trigger append_only before update or delete on ledger.run
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.event
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.node_result
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.commit_event
    for each row execute function ledger.refuse_change();

create trigger never_emptied before truncate on ledger.run
    for each statement execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.event
    for each statement execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.node_result
    for each statement execute function ledger.refuse_change();
create trigger never_emptied before truncate on ledger.commit_event
    for each statement execute function ledger.refuse_change();

create function ledger.forget(before timestamptz) returns bigint
language plpgsql security definer set search_path = ledger, pg_temp as $$
declare
    forgotten bigint;
begin
    perform set_config('ledger.forgetting', 'yes', true);
    delete from ledger.commit_event where at < before;
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

comment on function ledger.forget is
    'Removes finished runs asked for before that time, with all that is kept of them; gives how
    many. The right to call it is the owner''s to give.';

revoke execute on function ledger.forget from public;
