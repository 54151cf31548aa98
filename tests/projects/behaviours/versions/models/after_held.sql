select * from {{ ref('held') }}
