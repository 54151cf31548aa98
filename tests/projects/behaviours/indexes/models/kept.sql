{{ config(
    materialized='materialized_view', indexes=[{'columns': [var('kept_by', 'id')]}],
    on_configuration_change=var('on_change', 'apply'),
) }}
select * from {{ ref('grown') }}
