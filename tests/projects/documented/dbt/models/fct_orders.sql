select o.id, o.amount, c.name as country
from {{ ref('stg_orders') }} as o
join {{ ref('countries') }} as c on c.code = o.country
cross join {{ ref('rates') }} as r
