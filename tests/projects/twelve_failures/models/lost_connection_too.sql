{{ config(pre_hook="select {% if fails('lost_connection') %}pg_terminate_backend(pg_backend_pid()){% else %}1{% endif %}") }}
select 1 as id
