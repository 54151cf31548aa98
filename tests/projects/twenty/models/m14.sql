select id from {{ ref('m04') }}
cross join pg_sleep(0.1)
