{{ config(store_failures=true, severity='warn') }}
select id, pg_sleep(1)::text as slept from {{ ref('orders') }} where amount < {{ var('limit') }}
