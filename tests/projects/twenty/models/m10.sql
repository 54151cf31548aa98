select id from {{ ref('m03') }}
cross join pg_sleep(0.1)
