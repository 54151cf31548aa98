{{ config(materialized=var('shape', 'view'), tags=[var('tag', 'daily')]) }}
select {{ var('numbers', [1, 2]) | sum }} as total
