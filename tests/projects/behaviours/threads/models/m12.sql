{{ config(materialized='table') }} select (max(id) + 1) as id from (select id from {{ ref('m08') }} union all select id from {{ ref('m09') }}) as up
