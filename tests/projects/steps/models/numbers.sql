select n as id, n * 10 as amount from generate_series(1, {{ var('size') }}) as n
