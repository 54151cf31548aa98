-- The same column as missing_column, by another alias.
select o.amount
    {%- if fails("missing_column") %}, o.discount_codes{% endif %}
from {{ ref("orders") }} as o
