select 1 as id {% for word in words() %}, '{{ word }}' as "{{ word }}" {% endfor %}
-- depends_on: {{ ref('dictionary') }}
