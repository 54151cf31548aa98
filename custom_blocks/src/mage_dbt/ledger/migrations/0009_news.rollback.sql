select set_config('ledger.forgetting', 'yes', true);
delete from ledger.alert where kind = 'news';
select set_config('ledger.forgetting', '', true);

alter table ledger.alert drop constraint alert_kind_check;
alter table ledger.alert add constraint alert_kind_check
    check (kind in ('failure', 'recovery', 'overdue', 'broken'));
