{% macro generate_schema_name(custom_schema_name, node) -%}
    {#- PostgreSQL keeps schemas that begin with pg_ for itself. -#}
    {{ 'pg_reserved' if custom_schema_name == 'reserved' else target.schema }}
{%- endmacro %}
