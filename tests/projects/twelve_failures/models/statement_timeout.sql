{{ config(pre_hook="set local statement_timeout = '300ms'") }}
select pg_sleep({{ 30 if fails("statement_timeout") else 0 }})::text as slept
