{{ config(materialized='table') }} select e.id from {{ ref('e') }} as e join {{ ref('d') }} as d using (id)
