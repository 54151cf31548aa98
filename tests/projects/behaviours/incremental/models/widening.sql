{{ config(materialized='incremental', unique_key='id', on_schema_change='append_new_columns') }}
select id, label {% if var('generation', 1) > 1 %}, half {% endif %} from {{ ref('days') }}
