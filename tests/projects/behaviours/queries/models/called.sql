{% call statement('asked', fetch_result=True) %}
    select {{ var('number', 1) }} as number, current_database()::text as name
{% endcall %}
{% set answer = load_result('asked') %}
select {{ answer['data'][0][0] if execute else 0 }} as number,
    '{{ log("said while it compiles", info=true) }}' as said
