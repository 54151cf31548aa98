select id, customer, amount from {{ source("raw", "orders") }}
