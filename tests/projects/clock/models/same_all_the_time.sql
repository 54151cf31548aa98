{{ config(enabled=run_started_at.year > 2000) }}
select 1 as x
