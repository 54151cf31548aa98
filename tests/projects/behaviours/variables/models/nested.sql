{% set deep = var('deep', {'a': {'b': 1}}) %}
select '{{ deep['a']['b'] }}' as b, '{{ var('side') if var.has_var('side') else 'unset' }}' as side
