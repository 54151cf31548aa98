{% macro note(what) %}
    insert into {{ target.schema }}.journal (what) values ('{{ what }} {{ var("who", "nobody") }}')
{% endmacro %}

{% macro results_noted(results) %}
    {% for one in results | sort(attribute='node.unique_id') %}
        {{ note(one.node.name ~ ' ' ~ one.status) }};
    {% endfor %}
{% endmacro %}
