"""The answers to dbt's own questions for what stands in the warehouse, as plain rows.

dbt makes a table of each answer, cell by cell, to find out the types of its columns. Of the lists
of relations it only takes the rows, whose cells are names; there is one for each relation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.worker.patches.patch import Patch

LISTING = frozenset(
    (
        *("list_relations_without_caching", "postgres__list_relations_without_caching"),
        *("postgres_get_relations", "postgres__get_relations", "statement"),
    )
)
"""The macros that ask. Where a project has one of its own, it may do anything with the answer."""

DBTS_OWN = ("dbt", "dbt_postgres")
"""Packages."""


class _Row(tuple[Any, ...]):
    def values(self) -> tuple[Any, ...]:
        return self


class _Rows:
    """As much of dbt's table as its own macros and adapter ask for."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self.rows = dict(enumerate(map(_Row, rows)))

    def __iter__(self) -> Iterator[_Row]:
        return iter(self.rows.values())


class PlainRows:
    """Of each process there is at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._possible = not any(
            macro.name in LISTING and macro.package_name not in DBTS_OWN
            for macro in manifest.macros.values()
        )
        self._here = threading.local()

    @contextmanager
    def asked_for(self) -> Iterator[None]:
        """Queries of this thread within the block are answered with plain rows, where possible."""
        self._here.asked = self._possible
        try:
            yield
        finally:
            self._here.asked = False

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "dbt.adapters.sql.connections:SQLConnectionManager.get_result_from_cursor",
                self._result,
                sources=("a0a82371f657c2d1",),
                why="Every answer becomes a table, cell by cell, to find the types of its columns; "
                "of the lists of relations only the rows are taken.",
            ),
        )

    def _result(self, original: Any) -> Any:
        here = self._here

        def result(manager: type[Any], cursor: Any, limit: int | None) -> Any:
            if not getattr(here, "asked", False) or limit or cursor.description is None:
                return original(manager, cursor, limit)
            return _Rows(cursor.fetchall())

        return result
