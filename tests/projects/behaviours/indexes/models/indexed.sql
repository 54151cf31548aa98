{{ config(
    materialized='table', unlogged=var('unlogged', false),
    indexes=[
        {'columns': ['id'], 'unique': true},
        {'columns': ['word'], 'type': var('index_type', 'hash')},
    ],
) }}
select n as id, 'w' || n as word from generate_series(1, 3) as n
