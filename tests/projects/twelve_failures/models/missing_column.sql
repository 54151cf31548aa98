select orders.id
    {%- if fails("missing_column") %}, orders.discount_codes{% endif %}
from {{ ref("orders") }} as orders
