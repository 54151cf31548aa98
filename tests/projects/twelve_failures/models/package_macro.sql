select {{ rates.to_euro("amount", "XAU" if fails("package_macro") else "KRW") }} as amount
from {{ ref("orders") }}
