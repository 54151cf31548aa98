{{ config(alias="lib_dates") }} select 1 as id
