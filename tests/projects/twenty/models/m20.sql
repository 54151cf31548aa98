select id from {{ ref('m18') }}
inner join {{ ref('m19') }} using (id)
cross join pg_sleep(0.1)
