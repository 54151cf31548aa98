{{ config(store_failures=true, store_failures_as='view', schema='kept') }}
select n from {{ ref('numbers') }} where n > {{ var('most', 4) }}
