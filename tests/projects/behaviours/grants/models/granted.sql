{{ config(materialized='incremental', grants={'select': var('readers', ['analyst'])}) }}
select 1 as id
