{# What a loader would have brought: orders of today, payments of today or of last week. #}
{% macro load_raw() %}
    create schema if not exists raw;
    create table if not exists raw.orders (id integer, customer integer, amount numeric);
    create table if not exists raw.payments (id integer, loaded_at timestamptz);
    create table if not exists raw.refunds (id integer, loaded_at timestamptz);
    truncate raw.orders, raw.payments, raw.refunds;
    insert into raw.orders select id, id % 7, id * 1.5 from generate_series(1, 100) as id;
    insert into raw.payments
        select id, now() {% if fails("source_late") %}- interval '8 days'{% endif %}
        from generate_series(1, 3) as id;
    insert into raw.refunds select * from raw.payments
{% endmacro %}
