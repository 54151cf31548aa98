{{ config(schema='reserved') }}
select 1 as id
