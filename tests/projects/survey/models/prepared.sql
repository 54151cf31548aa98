{{ config(materialized="ephemeral") }}
select * from {{ ref("stage") }}
