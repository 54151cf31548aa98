"""Commits of dbt-metric: exported, parsed, kept; the store asks a parser and knows no worker."""
