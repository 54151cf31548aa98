select sum(amount) / count(*) filter (where customer = {{ 99 if fails("division_by_zero") else 1 }}) as share
from {{ ref("orders") }}
