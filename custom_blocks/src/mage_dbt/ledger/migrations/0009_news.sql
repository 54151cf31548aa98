-- An alert may be news: nothing has failed, and somebody may want to do something.

alter table ledger.alert drop constraint alert_kind_check;
alter table ledger.alert add constraint alert_kind_check
    check (kind in ('failure', 'recovery', 'overdue', 'broken', 'news'));
