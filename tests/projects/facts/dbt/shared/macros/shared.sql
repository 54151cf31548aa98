{% macro word() %}first{% endmacro %}
{% macro days() %}{{ var('days_back', 3) }}{% endmacro %}
