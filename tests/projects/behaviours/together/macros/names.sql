{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema }}_{{ node.package_name }}{{ '_' ~ custom_schema_name | trim if custom_schema_name }}
{%- endmacro %}
