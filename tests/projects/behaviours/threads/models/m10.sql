{{ config(materialized='table') }} select (max(id) + 1) as id from (select id from {{ ref('m06') }} union all select id from {{ ref('m07') }}) as up
