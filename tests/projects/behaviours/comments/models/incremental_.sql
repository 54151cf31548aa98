{{ config(materialized='incremental') }} select * from {{ ref('table_') }}
