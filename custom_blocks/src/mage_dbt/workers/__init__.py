"""The processes that run dbt, as the runner sees them. Nothing here imports dbt."""
