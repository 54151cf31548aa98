select id from {{ ref('granted') }}
