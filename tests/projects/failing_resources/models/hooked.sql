{{ config(post_hook="do $$ begin raise exception E'two\nlines' using errcode = 'P0004'; end $$") }}
select 1 as id
