{{ config(materialized='table', event_time='at') }}
select timestamp '2024-01-01' + n * interval '1 day' as at, 2 - n as amount
from generate_series(0, 3) as n
