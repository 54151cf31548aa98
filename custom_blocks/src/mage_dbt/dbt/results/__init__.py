"""What dbt makes of each node: its events, batches and failures."""
