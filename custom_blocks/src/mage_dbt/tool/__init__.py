"""The command-line tool `mage-dbt`: each verb calls the runner; `--json` prints plain data."""

from mage_dbt.tool.command_line import main

__all__ = ["main"]
