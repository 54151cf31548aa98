{% macro factor() %}{{ return(var('factor', 2)) }}{% endmacro %}
