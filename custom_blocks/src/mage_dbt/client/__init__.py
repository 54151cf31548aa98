"""The runner's client, and reports of runs for people; neither dbt nor a database driver."""
