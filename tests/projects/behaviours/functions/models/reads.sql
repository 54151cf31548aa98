select eight from {{ ref('uses') }}
