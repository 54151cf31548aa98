{{ config(materialized='table', event_time='at') }}
select timestamp '2024-01-01' + n * interval '6 hours' as at, n * {{ var('factor', 1) }} as amount
from generate_series(0, 19) as n
