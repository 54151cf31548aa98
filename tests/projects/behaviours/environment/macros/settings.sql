{% macro setting() %}{{ return(env_var('PLACE', 'nowhere')) }}{% endmacro %}
