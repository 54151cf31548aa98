"""Refreshes on PostgreSQL."""
