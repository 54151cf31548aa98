"""What runs inside dbt's processes: the only room that imports dbt."""
