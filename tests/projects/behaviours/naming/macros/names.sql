{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set prefix = var('prefix', env_var('NAMING_PREFIX', 'plain')) -%}
    {%- if custom_schema_name -%}{{ prefix }}_{{ custom_schema_name | trim }}
    {%- else -%}{{ target.schema }}{%- endif -%}
{%- endmacro %}

{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {{ (custom_alias_name or node.name) ~ var('suffix', '') }}
{%- endmacro %}

{% macro generate_database_name(custom_database_name=none, node=none) -%}
    {{ var('database', target.dbname) }}
{%- endmacro %}
