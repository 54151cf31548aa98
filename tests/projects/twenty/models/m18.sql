select id from {{ ref('m15') }}
inner join {{ ref('m16') }} using (id)
cross join pg_sleep(0.1)
