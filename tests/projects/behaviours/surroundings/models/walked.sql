{{ config(materialized='table') }}
{% set found = [] %}
{% if execute %}
    {% for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') %}
        {% do found.append(node.name ~ ' ' ~ node.alias ~ ' ' ~ node.config.materialized ~ ' ' ~ node.config.tags | join(',')) %}
    {% endfor %}
{% endif %}
select '{{ found | sort | join(' | ') }}' as found
