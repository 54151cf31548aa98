{{ config(materialized="ephemeral") }}
select * from {{ ref("prepared") }} where id > 0
