{{ config(materialized='table') }} select id, pg_sleep(0.5)::text as slept from {{ ref('a') }} -- under way when b fails
