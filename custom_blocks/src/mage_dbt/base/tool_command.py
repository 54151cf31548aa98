"""How a person calls the command-line tool: the one place that spells it, for hints and alerts.

Only the deployment knows: in a checkout it is a script, in containers a command within one. So it
is a setting, which every process of the workspace finds in its environment. Standard library only.
"""

from __future__ import annotations

import os

SETTING = "TOOL_COMMAND"

DEFAULT = "./scripts/mage-dbt"
"""At the top of a checkout, where pages and hints have commands typed."""


def tool_command(arguments: str = "") -> str:
    """The tool with `arguments` (`show 20261123-080000-4f2a9c`), to be pasted as it is."""
    return f"{os.environ.get(SETTING) or DEFAULT} {arguments}".rstrip()
