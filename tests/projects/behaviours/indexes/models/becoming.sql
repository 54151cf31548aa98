{{ config(materialized=var('becoming', 'view')) }} select count(*) as found from {{ ref('kept') }}
