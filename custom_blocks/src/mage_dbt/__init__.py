"""Mage, preconfigured for one dbt repository: the runner, its client, and the blocks in Mage."""
