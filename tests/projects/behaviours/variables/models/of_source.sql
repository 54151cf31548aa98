select count(*) > 0 as any, '{{ source('outside', 'pg_am') }}' as source from {{ source('outside', 'pg_am') }}
