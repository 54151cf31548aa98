"""What to do when a relation is missing that is one of this project's own. Pure.

Which one it is, is decided by the relations of the graph that runs, and never by the text of a
statement: the server says that a table is missing, and which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mage_dbt.warehouse.names import Folding
from mage_dbt.worker.nodes import name_of
from mage_dbt.worker.server_errors import UNDEFINED_TABLE, ServerError

QUOTED = re.compile(r'["«»„“”]\s?(.+?)\s?["«»„“”]')
"""The name in the server's sentence, in the quotes of its language."""

TOOL = "./scripts/mage-dbt run"


class Relations:
    """The relations of one project, by schema and name as the server says them."""

    def __init__(self, nodes: Iterable[Any], sources: Iterable[Any], folding: Folding) -> None:
        """`nodes` are those that dbt builds. One that is a source as well is said to be built."""
        self._known: dict[str, Any] = {}
        for one in (*nodes, *sources):
            rendered = getattr(one, "relation_name", None)
            if rendered:
                try:
                    name = folding.name(rendered)
                except ValueError:  # an adapter that names relations in some other way
                    continue
                self._known.setdefault(f"{name.schema}.{name.name}", one)

    def remedy(self, error: ServerError | None) -> str:
        """What to do about the error; empty unless a relation of the project is missing.

        A name without a schema says nothing: where the server has looked for it, the graph does
        not tell.
        """
        if error is None or error.sqlstate != UNDEFINED_TABLE:
            return ""
        found = QUOTED.search(error.primary)
        node = self._known.get(found[1]) if found else None
        if found is None or node is None:
            return ""
        kind = str(node.resource_type)
        if kind == "source":
            what = f"{found[1]} is the source {node.source_name}.{node.name}"
            loader = (
                f"{node.loader} does, by {node.original_file_path}"
                if node.loader
                else f"who does, {node.original_file_path} does not say (`loader`)"
            )
            return f"{what}, and not in the warehouse. dbt loads no sources: {loader}."
        name = name_of(node)
        what = f"{found[1]} is the {kind} {name}, and not in the warehouse."
        if kind == "seed":
            return (
                f"{what} Run the seeds first: {TOOL} command --command seed "
                "(in Mage: dbt_command with the command seed)."
            )
        return (
            f"{what} Build it first, with what it reads: {TOOL} --select +{name} "
            f"(in Mage: single_model_rerun with the model {name} and with_upstream)."
        )
