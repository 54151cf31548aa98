{{ config(materialized='incremental', unique_key='id', indexes=[{'columns': ['id', 'word']}]) }}
select * from {{ ref('indexed') }}
