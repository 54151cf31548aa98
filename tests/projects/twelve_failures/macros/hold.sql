{# Two models that each hold a lock and want the other's; the one with the lower number is refused.
   PostgreSQL looks for a deadlock once, a second after a wait has begun. So the other waits first,
   and this one when that look is over. #}
{% macro hold(own, other) %}
    do $$
    begin
        perform pg_advisory_xact_lock({{ own }});
        for waited in 1..2400 loop
            perform pg_sleep(0.05);
            exit when exists (
                select from pg_locks
                where locktype = 'advisory'
                    {% if own < other %}
                    and objid = {{ own }} and not granted
                    and waitstart < clock_timestamp() - interval '3 seconds'
                    {% else %}
                    and objid = {{ other }} and granted
                    {% endif %}
            );
        end loop;
        perform pg_advisory_xact_lock({{ other }});
    end
    $$
{% endmacro %}
