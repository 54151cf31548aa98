{{ config(
    materialized='table',
    pre_hook=[note('before'), {'sql': "vacuum {{ target.schema }}.journal", 'transaction': false}],
    post_hook=[
        "insert into {{ target.schema }}.journal (what) select 'rows ' || count(*) from {{ this }}",
        "{% if var('loud', false) %}{{ note('loud') }}{% endif %}",
    ],
) }}
select 1 as id
