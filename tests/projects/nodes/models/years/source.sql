{{ config(materialized='view', event_time='at') }}
select at, extract(year from at)::int as year
from generate_series(timestamp '2022-01-15', now() at time zone 'UTC', interval '1 month') as at
