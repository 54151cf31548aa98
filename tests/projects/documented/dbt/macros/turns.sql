{% macro turn(times) %}{{ money('1') if times < 1 else turned(times - 1) }}{% endmacro %}
