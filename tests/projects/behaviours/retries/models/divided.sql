{{ config(materialized='table') }} select 10 / n as id from {{ source('by_hand', 'numbers') }}
