{{ config(enabled=env_var('MORE', 'no') == 'yes') }}
select 1 as id
