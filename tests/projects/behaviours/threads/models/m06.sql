{{ config(materialized='table') }} select (max(id) + 1) / {{ var('divisor', 1) }} as id from (select id from {{ ref('m02') }} union all select id from {{ ref('m03') }}) as up
