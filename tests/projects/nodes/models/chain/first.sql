select 1 / (select n from public.switches where name = 'chain') as id
