select id from {{ ref('orders', v=var('chosen', 1)) }}
