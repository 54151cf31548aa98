select 1 / (select count(*) from public.books) as x
