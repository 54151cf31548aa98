select {% if execute and fails("compilation") %}{{ share_of("amount") }}{% else %}amount{% endif %} as amount
from {{ ref("orders") }}
