{{ config(enabled=var('needs_it', false)) }}
select id from {{ ref('by_yaml') }}
