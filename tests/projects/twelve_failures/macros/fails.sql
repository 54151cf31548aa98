{# Whether the failure of this name is switched on. #}
{% macro fails(name) %}
    {{ return(name in var("failing", []) or "all" in var("failing", [])) }}
{% endmacro %}
