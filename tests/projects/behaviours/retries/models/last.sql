{{ config(materialized='incremental', unique_key='id') }}
select between.id from {{ ref('between') }} as between cross join {{ ref('untouched') }}
