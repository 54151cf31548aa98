{{ config(tags=['weekly']) }} select id from {{ ref('source_') }}
