{{ config(materialized="incremental", on_schema_change="fail") }}
select id, amount from {{ ref("stage") }}
