select id from {{ ref('m02') }}
cross join pg_sleep(0.1)
