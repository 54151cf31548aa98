select amount / {{ var('divisor', 1) }} as amount from {{ ref('daily') }}
