{% snapshot in_sql %}
{{ config(strategy='check', unique_key='id', check_cols='all', target_schema='old_style') }}
select id, name from {{ ref('people') }}
{% endsnapshot %}
