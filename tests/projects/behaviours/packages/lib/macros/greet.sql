{% macro greet() %}{{ return(adapter.dispatch('greet', 'lib')()) }}{% endmacro %}
{% macro default__greet() %}'hello {{ var('word') }}'{% endmacro %}
{% macro overridden() %}'of the package'{% endmacro %}
