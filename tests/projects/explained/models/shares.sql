select id, 100 / discount_code as share from {{ ref('stg_orders') }}
