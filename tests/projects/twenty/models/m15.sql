select id from {{ ref('m08') }}
inner join {{ ref('m12') }} using (id)
cross join pg_sleep(0.1)
