select {% if execute and fails("compilation") %}{{ rounded("amount") }}{% else %}amount{% endif %} as amount
from {{ ref("orders") }}
