{% macro words() %}
    {% if not execute %}{{ return(['unparsed']) }}{% endif %}
    {% set found = run_query('select word from ' ~ ref('dictionary') ~ ' order by 1') %}
    {{ return(found.columns[0].values()) }}
{% endmacro %}
