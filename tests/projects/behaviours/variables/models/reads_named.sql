select id, '{{ var('note', '') }}' as note from {{ ref('named') }}
