{{ config(materialized='view') }}
select * from {{ ref('daily') }} where day = (select max(day) from {{ ref('daily') }})
