{# Fails when the newest row was loaded more than `hours` ago. #}
{% test recent(model, column_name, hours) %}
    select max({{ column_name }}) as newest
    from {{ model }}
    having max({{ column_name }}) < now() - interval '{{ hours }} hours'
{% endtest %}
