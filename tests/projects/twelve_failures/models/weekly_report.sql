select revenue from {{ ref("daily_revenue") }}
