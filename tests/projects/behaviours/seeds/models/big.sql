select code from {{ ref('countries') }} where population > {{ var('least', 70) }}
