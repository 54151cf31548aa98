select id, '{{ ref('second') }}' as source, '{{ this }}' as own from {{ ref('second') }}
