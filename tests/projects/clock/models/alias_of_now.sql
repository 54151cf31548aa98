{{ config(alias='stamped_' ~ run_started_at.strftime('%H%M%S%f')) }}
select 1 as x
