select
    id,
    {% if fails("failing_test") %}nullif('supplier ' || id, 'supplier 2')
    {% else %}'supplier ' || id{% endif %} as title
from generate_series(1, 3) as id
