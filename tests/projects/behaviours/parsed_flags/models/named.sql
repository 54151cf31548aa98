{{ config(materialized='table', alias='named_' ~ ('whole' if flags.FULL_REFRESH else 'part')) }}
select 1 as id
