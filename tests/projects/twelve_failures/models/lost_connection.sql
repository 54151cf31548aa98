select {% if fails("lost_connection") %}pg_terminate_backend(pg_backend_pid()) and {% endif %}true as kept
