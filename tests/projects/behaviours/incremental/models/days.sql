select n as id, 'v' || {{ var('generation', 1) }} as label, n % 2 as half
from generate_series(1, {{ var('days', 2) }}) as n
