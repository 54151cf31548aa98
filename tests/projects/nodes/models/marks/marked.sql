select 1 as id
union all
select 1 from public.switches where name = 'marks' and n = 0
