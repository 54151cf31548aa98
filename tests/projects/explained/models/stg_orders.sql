select id, amount as discount_code from {{ source('raw', 'orders') }}
