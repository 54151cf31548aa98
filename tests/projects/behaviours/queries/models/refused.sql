{% if execute and var('number', 1) == 2 %}
    {% do exceptions.raise_compiler_error('number must not be 2') %}
{% elif execute and var('number', 1) == 3 %}
    {% do exceptions.warn('number is 3') %}
    {% do run_query('select * from nowhere') %}
{% endif %}
select 1 as id
