select missing from {{ ref('numbers') }}
