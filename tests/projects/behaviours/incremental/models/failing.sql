{{ config(materialized='incremental', unique_key='id', on_schema_change='fail') }}
select id {% if var('generation', 1) > 1 %}, half {% endif %} from {{ ref('days') }}
