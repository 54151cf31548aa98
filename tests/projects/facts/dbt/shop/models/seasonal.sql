{{ config(enabled=env_var('DBT_SEASON', 'no') == 'yes') }}
select 1 / (select count(*) from public.books) as x
