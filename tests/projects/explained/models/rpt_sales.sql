select * from {{ ref('daily_revenue') }}
