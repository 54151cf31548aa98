{% if execute %} select '{{ env_var('LA' ~ 'TE', 'unset') }}' as late
{% else %} select 'unparsed' as late {% endif %}
