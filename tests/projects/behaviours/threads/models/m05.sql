{{ config(materialized='table') }} select (max(id) + 1) as id from (select id from {{ ref('m01') }} union all select id from {{ ref('m02') }}) as up
