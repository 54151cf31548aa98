select 1 as id, pg_sleep(3)::text as slept
