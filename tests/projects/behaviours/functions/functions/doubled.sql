select n * {{ var('factor', 2) }}
