{{ config(enabled=var('switch', true)) }} select 1 as id
