select id from {{ ref('broken_hook') }}
