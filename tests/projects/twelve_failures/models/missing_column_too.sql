select
    id
    {%- if fails("missing_column") %}, "Voucher"{% endif %}
from {{ ref("orders") }}
