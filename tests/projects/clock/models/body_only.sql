{{ config(tags=['year_' ~ modules.datetime.datetime(2020, 1, 1).year]) }}
{% set last = run_started_at - modules.datetime.timedelta(days=3) %}
select '{{ run_started_at.strftime("%H:%M") }}' as at, '{{ last }}' as since
{% if run_started_at.year > 2000 and modules.datetime.datetime.utcnow() %} -- always {% endif %}
