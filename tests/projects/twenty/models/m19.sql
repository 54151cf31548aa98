select id from {{ ref('m17') }}
cross join pg_sleep(0.1)
