{{ config(materialized='incremental') }}
select '{{ invocation_id }}' as invocation
