{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
  {%- if node.name == 'by_macro' -%}
    by_macro_{{ modules.datetime.datetime.utcnow().strftime('%Y%m%d') }}
  {%- else -%}
    {{ custom_alias_name or node.name }}
  {%- endif -%}
{%- endmacro %}
