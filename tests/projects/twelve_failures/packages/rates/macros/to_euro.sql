{% macro to_euro(amount, currency) %}
    {%- set rates = {"EUR": 1, "KRW": 0.00062} -%}
    {%- if execute and currency not in rates -%}
        {{ exceptions.raise_compiler_error("There is no rate for the currency '" ~ currency ~ "'") }}
    {%- endif -%}
    {{ amount }} * {{ rates.get(currency, 0) }}
{% endmacro %}
