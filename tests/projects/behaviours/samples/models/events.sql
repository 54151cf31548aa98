{{ config(materialized='table', event_time='at') }}
select timestamp '2024-01-01' + n * interval '1 day' as at, n from generate_series(0, 9) as n
