{% macro ref() %}
    {% set found = builtins.ref(*varargs, **kwargs) %}
    {{ return(found.include(database=false) if var('short', false) else found) }}
{% endmacro %}

{% macro postgres__create_table_as(temporary, relation, sql) %}
    create {{ 'temporary' if temporary }} table {{ relation.include(database=not temporary, schema=not temporary) }}
    as ({{ sql }}) -- {{ var('remark', 'ours') }}
{% endmacro %}

{% test not_null(model, column_name) %}
    select {{ column_name }} from {{ model }} where {{ column_name }} is null or {{ column_name }} > {{ var('most', 10) }}
{% endtest %}

{% materialization twice, adapter='postgres' %}
    {% set both = [] %}
    {% for suffix in ['', '_copy'] %}
        {% set made = this.incorporate(path={'identifier': this.identifier ~ suffix}, type='table') %}
        {% do adapter.drop_relation(made) %}
        {% call statement('main' if suffix == '' else 'copy') %}
            create table {{ made }} as ({{ sql }})
        {% endcall %}
        {% do both.append(made) %}
    {% endfor %}
    {% do adapter.commit() %}
    {{ return({'relations': both}) }}
{% endmaterialization %}
