{{ config(materialized='table', event_time='at') }}
select at, n from {{ ref('events') }}
