"""The queue in which runs wait for their turn; PostgreSQL holds it."""
