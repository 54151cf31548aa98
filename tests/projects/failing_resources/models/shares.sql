select 1 / amount as share from {{ ref('events') }} where amount > 0
