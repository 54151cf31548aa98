select n as id from generate_series(1, 100) as n, pg_sleep(0.1)
