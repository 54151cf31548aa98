drop index ledger.event_one_end;
drop table line.place;
drop sequence line.ticket;
