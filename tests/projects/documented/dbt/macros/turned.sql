{% macro turned(times) %}{{ turn(times) }}{% endmacro %}
