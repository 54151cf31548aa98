select id, 0 as nothing from {{ ref("stg_orders") }} where id < {{ var("most", 3) }}
