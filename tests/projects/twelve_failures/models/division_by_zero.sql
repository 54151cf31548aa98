select id, amount / (id - {{ 50 if fails("division_by_zero") else 5000 }}) as share
from {{ ref("orders") }}
