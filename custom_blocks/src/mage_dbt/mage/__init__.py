"""Mage: its process, project, API and blocks, the gateway before it, and the patches of it."""
