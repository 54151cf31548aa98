select id from {{ ref('m01') }}
inner join {{ ref('m02') }} using (id)
cross join pg_sleep(0.1)
