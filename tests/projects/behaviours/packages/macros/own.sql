{% macro overridden() %}'of the root'{% endmacro %}
{% macro postgres__greet() %}'good day {{ var('word') }}'{% endmacro %}
