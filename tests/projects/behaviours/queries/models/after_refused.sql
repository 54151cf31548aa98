select id from {{ ref('refused') }}
