"""What a full refresh would repair, said where dbt says nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from dbt_common.exceptions import DbtDatabaseError

from mage_dbt.warehouse import Warehouse
from mage_dbt.worker.drops import full_refresh
from mage_dbt.worker.nodes import name_of

FILLED = ("seed", "incremental")
"""Materializations that fill the table that is there, whatever columns it has."""


def remedy_of(node: Any, status: str, message: str) -> str:
    """What repairs a node's error, when its columns may have changed; empty otherwise."""
    config = getattr(node, "config", None)
    filled = str(getattr(config, "materialized", "")) in FILLED
    if status != "error" or not filled or full_refresh(node) or "column" not in message:
        return ""
    if "full_refresh" in message:
        return ""  # dbt says it itself
    return f"If the columns of {name_of(node)} changed, a full refresh repairs this."


def kept_definitions(warehouse: Warehouse, results: Iterable[Any]) -> Iterator[str]:
    """Sentences on materialized views that dbt only refreshed though their SQL has changed."""
    for one in results:
        node = one.node
        if str(getattr(node.config, "materialized", "")) != "materialized_view":
            continue
        if str(one.status) != "success" or full_refresh(node) or not node.relation_name:
            continue
        with suppress(DbtDatabaseError):  # it was built; only what is said of it is missing
            if warehouse.keeps_definition(node.relation_name, node.compiled_code or ""):
                yield (
                    f"{name_of(node)} keeps its old definition: dbt refreshed its rows only. "
                    "A full refresh builds it anew."
                )
