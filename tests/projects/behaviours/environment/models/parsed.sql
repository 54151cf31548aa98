{{ config(alias='parsed_' ~ env_var('PLACE', 'nowhere')) }}
select 1 as id
