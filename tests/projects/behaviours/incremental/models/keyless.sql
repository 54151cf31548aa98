{{ config(materialized='incremental', full_refresh=false) }}
select {{ flags.FULL_REFRESH }} as refreshed, {{ is_incremental() }} as incremental
