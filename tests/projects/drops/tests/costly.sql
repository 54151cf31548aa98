{{ config(store_failures=true, severity='warn') }}
select id from {{ ref('plain') }}
