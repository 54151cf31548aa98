{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='at',
    event_time='at', begin='2024-01-01', batch_size='day', lookback=1,
    concurrent_batches=false,
) }}
select at, amount from {{ ref('events') }}
