select id * {{ factor() }} as id, word || '{{ env_var("UNIT_WORD", "-") }}' as word from {{ ref('given') }}
