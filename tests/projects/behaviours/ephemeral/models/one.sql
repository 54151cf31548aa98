{{ config(materialized='ephemeral') }} select {{ var('number', 1) }} as id
