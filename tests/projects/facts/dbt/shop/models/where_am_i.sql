select '{{ target.name }}' as target, '{{ target.schema }}' as schema
