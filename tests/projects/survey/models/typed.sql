{{ config(materialized="incremental", on_schema_change="append_new_columns") }}
select id, amount * 1.5 as amount from {{ ref("stage") }}
