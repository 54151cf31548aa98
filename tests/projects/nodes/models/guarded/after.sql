select * from {{ ref('added') }}
