{% set columns = adapter.get_columns_in_relation(ref('pivoted')) | map(attribute='name') | list %}
select '{{ columns | join(' ') }}' as columns, {{ columns | length }} as number
