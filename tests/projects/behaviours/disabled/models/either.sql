{% if var('switch', true) %}
select id from {{ ref('switch') }}
{% else %}
select 0 as id
{% endif %}
