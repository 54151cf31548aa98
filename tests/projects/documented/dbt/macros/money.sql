{% macro cents(amount) %}(100 * {{ shared.rounded(amount) }}){% endmacro %}

{% macro money(amount) %}{{ cents(amount) }}{% endmacro %}
