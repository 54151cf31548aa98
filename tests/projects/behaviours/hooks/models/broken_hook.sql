{{ config(post_hook="select 1 / {{ var('divisor', 1) }}") }}
select 2 as id
