select id, '{{ ref('doubled') }}' as source from {{ ref('doubled') }}
