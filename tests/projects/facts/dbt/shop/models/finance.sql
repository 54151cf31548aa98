{{ config(enabled=var('with_finance', false)) }}
select 1 / (select count(*) from public.books) as x
