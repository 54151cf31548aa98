{% set now = var('generation', 1) %}
select id, 'name ' || case when id = 2 then {{ now }} else 0 end as name,
    timestamp '2024-01-01' + {{ now }} * interval '1 day' as changed_at
from generate_series({{ now }}, 4) as id
