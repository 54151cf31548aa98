{{ config(materialized='ephemeral') }} with inner_one as (select * from {{ ref('one') }}) select id + 1 as id from inner_one
