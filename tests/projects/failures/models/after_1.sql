select * from {{ ref('amounts') }}
