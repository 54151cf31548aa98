{{ config(materialized='view', schema='reporting') }}
select id, amount from {{ ref('facts') }}
