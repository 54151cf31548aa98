{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='at',
    event_time='at', begin='2024-01-01', batch_size='day',
) }}
select at, 1 / amount as share from {{ ref('events') }}
