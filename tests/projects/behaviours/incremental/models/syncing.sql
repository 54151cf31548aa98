{{ config(materialized='incremental', unique_key='id', on_schema_change='sync_all_columns') }}
select id, {{ 'label' if var('generation', 1) == 1 else 'half' }} from {{ ref('days') }}
