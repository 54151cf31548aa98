{{ config(materialized='incremental', incremental_strategy='append') }}
select now() as at
