-- How a node was materialized, so that nodes are counted as dbt counts them. Of results from before
-- it is not known.

alter table ledger.node_result add column materialized text not null default '';
