{{ config(materialized='table') }} select (max(id) + 1) as id from (select id from {{ ref('m04') }} union all select id from {{ ref('m05') }}) as up
