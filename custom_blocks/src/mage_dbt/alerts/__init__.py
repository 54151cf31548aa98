"""Alerts: which events have one, its words, and its delivery to the channels."""
