{{ config(materialized="incremental", alias="Quoted Orders") }}
select id as "Order Id", amount as "BETRÄGE", id as plain from {{ ref("stage") }}
