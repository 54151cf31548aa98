{{ config(indexes=[{"columns": ["parity"], "unique": true}]) }}
select id % 2 as parity from {{ ref("orders") }} {% if not fails("unique_violation") %}group by id % 2{% endif %}
