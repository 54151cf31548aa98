select * from {{ ref('shares') }}
