select nullif(n % 3, 0) as id, n as n from generate_series(1, {{ var('size', 6) }}) as n
