{% test undisturbed(model, name) %}
select 1 from {{ model }} where id < 0
union all
select 1 where journal.disturbed('{{ name }}')
{% endtest %}
