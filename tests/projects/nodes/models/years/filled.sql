{{ config(
    materialized='incremental', incremental_strategy='microbatch', event_time='at',
    batch_size='year', begin='2022-01-01', lookback=0, unique_key='at'
) }}
select at, year, 1 / (case when bad.seconds = 0 then 0 else 1 end) as x, pg_sleep(bad.seconds)::text as slept
from {{ ref('source') }} left join public.bad_years as bad using (year)
