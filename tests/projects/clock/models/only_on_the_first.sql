{{ config(enabled=run_started_at.day == 1) }}
select 1 as x
