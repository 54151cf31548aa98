select 1 / (select n from public.switches where name = 'orders') as x
