select {{ rates.to_euro("id", "BTC" if fails("package_macro") else "EUR") }} as amount
from {{ ref("orders") }}
