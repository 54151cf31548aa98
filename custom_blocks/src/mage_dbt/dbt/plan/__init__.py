"""Planning: dbt's selection for a job, what each node touches, and why a job is refused."""
