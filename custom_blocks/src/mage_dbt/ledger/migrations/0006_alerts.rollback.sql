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

drop index ledger.event_at_idx;
drop table ledger.alert_delivery;
drop table ledger.alert;
