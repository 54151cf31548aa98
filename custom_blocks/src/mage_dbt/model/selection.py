"""Selection criteria in dbt's own syntax. dbt alone decides which nodes they match."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mage_dbt.base.tool_command import tool_command
from mage_dbt.errors import BadSelection

LONGEST_CRITERION = 2_000
MOST_CRITERIA = 5_000
"""Enough for a rerun of a large failed build, which names every node."""

# No criterion begins with a dash (dbt would take it for a flag) or holds what only a shell reads.
CRITERION = re.compile(r"""[^-\s\x00-\x1f;&|`$<>\\"'(){}][^\s\x00-\x1f;&|`$<>\\"'(){}]*""")

METHOD = re.compile(r"(?:@|\d*\+)?(\w+)(?:\.[\w.]+)?:")

SYNTAX = re.compile(r"[+@*?\[\]:,/]")
"""Characters of a selection that no model's name has."""


NEED_ANOTHER_RUN = {
    "result": "To run again what did not pass, ask for operation `rerun_failed`.",
    "state": f"Name what is to be built; `{tool_command('plan')}` shows what a selection comes to.",
    "source_status": f"Name what is to be built; `{tool_command('plan')}` tells stale sources.",
}
"""dbt's methods that compare with the files of an earlier run, and what to do instead."""


def is_name(word: str) -> bool:
    """Whether the word can only be one node's name, or its unique id."""
    return SYNTAX.search(word) is None


def criteria(parts: Sequence[str], where: str) -> tuple[str, ...]:
    """Checks the form of each criterion. Raises BadSelection, naming the one that is wrong."""
    if len(parts) > MOST_CRITERIA or any(len(part) > LONGEST_CRITERION for part in parts):
        raise BadSelection(f"{where} is too long.")
    for part in parts:
        if not CRITERION.fullmatch(part):
            raise BadSelection(
                f"{part!r} in {where} is not a model name or a dbt selection criterion."
            )
        for criterion in part.split(","):
            method = METHOD.match(criterion)
            if method and method[1] in NEED_ANOTHER_RUN:
                raise BadSelection(
                    f"`{method[1]}:` in {where} compares with the files of an earlier run, and a "
                    "run here is given none.",
                    NEED_ANOTHER_RUN[method[1]],
                )
    return tuple(parts)
