{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='at',
    event_time='at', begin='2024-01-01', batch_size='day', concurrent_batches=true,
) }}
select at, amount, (select count(*) from {{ ref('events').render() }}) as everything
from {{ ref('events') }}
