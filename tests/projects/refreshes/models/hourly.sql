{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='id',
    event_time='at', batch_size='day', begin=var('begin', '2026-11-20'), concurrent_batches=false
) }}
select id, at, 10 / nullif(amount, 0) as amount, amount / (amount - 13) as risk
from {{ ref('events') }}
