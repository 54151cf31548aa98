{% macro unused() %}1{% endmacro %}
