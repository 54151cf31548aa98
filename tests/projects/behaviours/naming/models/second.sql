{{ config(alias='renamed', materialized='table') }} select id from {{ ref('first') }}
