select id from {{ ref('m03') }}
inner join {{ ref('m04') }} using (id)
cross join pg_sleep(0.1)
