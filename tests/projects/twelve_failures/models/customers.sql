{% set nameless = var("nameless", [3]) if fails("failing_test") else [] %}
select
    customer as id,
    case when customer not in ({{ ([-1] + nameless) | join(", ") }}) then 'customer ' || customer end
        as name,
    'pass' || customer as password,
    customer || '@example.com' as mail,
    'paid ' || customer as note
from {{ ref("orders") }}
group by customer
