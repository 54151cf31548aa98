select 1 as id
{% if fails("missing_relation") %}union all select id from raw.discounts{% endif %}
