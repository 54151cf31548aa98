{% if execute %}
    {% do run_query("select pg_sleep(1)") %}
    {% do exceptions.raise_compiler_error("bad \x00 byte") %}
{% endif %}
select 1 as id
