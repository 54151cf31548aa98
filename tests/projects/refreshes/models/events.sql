{{ config(materialized='view', event_time='at') }}
select id, at, amount from {{ source('raw', 'events') }}
