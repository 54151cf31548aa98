{{ config(materialized='table') }} select count(*) as found from {{ ref('derived') }} as d
