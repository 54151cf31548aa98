{% test at_least(model, column_name, least) %}
{{ config(fail_calc='sum(missing)', warn_if='>2', error_if='>' ~ var('error_if', 100)) }}
select {{ column_name }}, 1 as missing from {{ model }} where {{ column_name }} < {{ least }}
{% endtest %}
