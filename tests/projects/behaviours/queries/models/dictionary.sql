{{ config(materialized='table') }}
select unnest(array[{% for one in var('words', ['a', 'b']) %}'{{ one }}'{{ ', ' if not loop.last }}{% endfor %}]) as word
