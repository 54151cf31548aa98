{% test never_more(model, column_name, than) %}
select * from {{ model }} where {{ column_name }} > {{ than }}
{% endtest %}
