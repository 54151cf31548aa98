select n, {{ lib.greet() }} as greeting, {{ overridden() }} as own from generate_series(1, {{ var('size') }}) as n
