{{ config(
    materialized='incremental', incremental_strategy='merge', unique_key='id',
    merge_exclude_columns=['half'], incremental_predicates=['DBT_INTERNAL_DEST.id > 1'],
) }}
select * from {{ ref('days') }}
