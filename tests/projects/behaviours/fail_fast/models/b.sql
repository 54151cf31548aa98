{{ config(materialized='table') }} select id / {{ var('divisor', 1) }} as id from {{ ref('a') }}
