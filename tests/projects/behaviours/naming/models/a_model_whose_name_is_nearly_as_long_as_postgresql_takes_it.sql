{{ config(materialized='table') }} select "An Id" from {{ ref('quoted') }}
