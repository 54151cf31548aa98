{{ config(materialized=var('three', 'ephemeral')) }} select * from {{ ref('two') }} union all select * from {{ ref('one') }}
