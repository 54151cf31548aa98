{{ config(materialized='table') }} select * from {{ ref('planted') }}
