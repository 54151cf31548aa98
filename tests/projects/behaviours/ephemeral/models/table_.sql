{{ config(materialized='table') }} with own as (select 1 as x) select * from {{ ref('three') }}, own
