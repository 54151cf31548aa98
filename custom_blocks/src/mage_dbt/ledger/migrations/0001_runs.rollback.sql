drop view ledger.run_now;
drop table ledger.commit_event;
drop table ledger.node_result;
drop table ledger.event;
drop table ledger.run;
