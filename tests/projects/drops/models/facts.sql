{{ config(materialized='incremental', unique_key='id') }}
select 1 as id, 2 as amount, pg_advisory_xact_lock_shared(4711)::text as waited
