alter table ledger.node_result drop column materialized;
