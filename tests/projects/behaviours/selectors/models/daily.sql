{{ config(tags=['daily']) }} select id from {{ ref('source_') }}
