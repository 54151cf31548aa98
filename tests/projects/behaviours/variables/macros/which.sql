{% macro which() %}{{ return('left' if var('side', 'left') == 'left' else 'right') }}{% endmacro %}
{% macro by_name() %}{{ return(var('si' ~ 'de', 'left')) }}{% endmacro %}
