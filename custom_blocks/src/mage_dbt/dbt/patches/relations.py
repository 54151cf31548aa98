"""The relations in the warehouse, as dbt lists, links, keeps and finds them.

A run lists all relations in the schemas to which it writes, because any macro may ask for any of
them. dbt does some work for each relation; here the same takes less. dbt makes a table of each
answer, cell by cell, to find the types of its columns. Of the lists of relations it takes only the
rows, whose cells are names.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dbt.adapters.cache import _CachedRelation
from dbt.adapters.contracts.relation import Path
from dbt.adapters.reference_keys import _make_ref_key, _ReferenceKey, lowercase
from dbt.adapters.sql.impl import LIST_RELATIONS_MACRO_NAME
from dbt.contracts.graph.manifest import Manifest

from mage_dbt.dbt.patches.patch import Patch

GET_RELATIONS_MACRO_NAME = "postgres_get_relations"

CACHE = (
    "dbt.adapters.reference_keys:_make_ref_key",
    "dbt.adapters.cache:_CachedRelation.__init__",
    "dbt.adapters.cache:RelationsCache._add_link",
)

LISTING = frozenset(
    (
        *("list_relations_without_caching", "postgres__list_relations_without_caching"),
        *("postgres_get_relations", "postgres__get_relations", "statement"),
    )
)
"""Macros that ask for lists. A project's own macro may do anything with the answer."""

DBTS_OWN = ("dbt", "dbt_postgres")
"""Names of dbt's own packages."""


def patches(rows: PlainRows) -> tuple[Patch, ...]:
    """The patches on relations; `rows` answers the lists."""
    events = (
        "Each relation that stands in a schema, and each that a view reads, becomes an event; the "
        "log leaves them out unless it was asked for them (`--log-cache-events`). They are most of "
        "the time that it takes to list many."
    )
    return (
        Patch(
            "dbt.adapters.cache:RelationsCache.add",
            _add,
            sources=("4f14fbfa12e9969e",),
            why=events,
            relies_on=CACHE,
        ),
        Patch(
            "dbt.adapters.cache:RelationsCache.add_link",
            _add_link,
            sources=("b5902570659ff51a",),
            why=events,
            relies_on=CACHE,
        ),
        Patch(
            "dbt.adapters.cache:RelationsCache.get_relations",
            lambda _: _relations_of_schema,
            sources=("6de0123181935d36",),
            why="The names of all relations are made lower case again to list those of one schema, "
            "several times a model; the cache keeps them so already.",
            relies_on=CACHE,
        ),
        Patch(
            "dbt.adapters.base.impl:BaseAdapter._make_match",
            _match,
            sources=("ef3106c9b93d6f00",),
            why="Database, schema and name of every relation are compared with those looked for; "
            "one whose name is another, whatever its case and quotes, matches in no way.",
            relies_on=("dbt.adapters.base.relation:BaseRelation.matches",),
        ),
        Patch(
            "dbt.adapters.sql.impl:SQLAdapter.list_relations_without_caching",
            lambda original: _listed(rows, original),
            sources=("86a7c43716936cac",),
            why="An object is made of each relation from all its parts. Those of one kind differ "
            "in their names: dbt makes the first, the others are copies of it.",
        ),
        Patch(
            "dbt.adapters.postgres.impl:PostgresAdapter._link_cached_database_relations",
            lambda _: _linked(rows),
            sources=("b4b305e46f8525ba",),
            why="Two relations are made of each pair of a view and what it reads; where both are "
            "in the cache already, only their names are needed.",
            relies_on=CACHE,
        ),
    )


def _add(with_event: Any) -> Any:
    def add(kept: Any, relation: Any) -> None:
        if kept.log_cache_events:
            with_event(kept, relation)
            return
        key = _make_ref_key(relation)
        with kept.lock:
            kept.schemas.add((key.database, key.schema))
            kept.relations.setdefault(key, _CachedRelation(relation))

    return add


def _add_link(with_event: Any) -> Any:
    def add_link(kept: Any, referenced: Any, dependent: Any) -> None:
        if kept.log_cache_events:
            with_event(kept, referenced, dependent)
            return
        below, above = _make_ref_key(referenced), _make_ref_key(dependent)
        if (below.database, below.schema) not in kept:
            return  # nothing of it is ever dropped
        if below not in kept.relations:
            kept.add(referenced.replace(type=referenced.External))
        if above not in kept.relations:
            kept.add(dependent.replace(type=dependent.External))
        with kept.lock:
            kept._add_link(below, above)

    return add_link


def _relations_of_schema(kept: Any, database: str | None, schema: str | None) -> list[Any]:
    wanted = lowercase(database), lowercase(schema)
    with kept.lock:
        return [
            cached.inner
            for key, cached in kept.relations.items()
            if (key.database, key.schema) == wanted
        ]


def _match(original: Any) -> Any:
    def match(adapter: Any, relations: list[Any], database: str, schema: str, name: str) -> Any:
        if name and adapter.type() == "postgres":
            plain = name.lower().strip('"')
            relations = [
                relation
                for relation in relations
                if str(relation.path.identifier).lower().strip('"') == plain
            ]
        return original(adapter, relations, database, schema, name)

    return match


def _listed(rows: PlainRows, original: Any) -> Any:
    def listed(adapter: Any, schema_relation: Any) -> list[Any]:
        if adapter.type() != "postgres":
            return list(original(adapter, schema_relation))
        with rows.asked_for():
            found = adapter.execute_macro(
                LIST_RELATIONS_MACRO_NAME, kwargs={"schema_relation": schema_relation}
            )
        first: dict[tuple[str, str, str], Any] = {}
        return [relation_like(first, adapter.Relation, *row) for row in found]

    return listed


def _linked(rows: PlainRows) -> Any:
    def link(adapter: Any, schemas: set[str]) -> None:
        kept, database = adapter.cache, adapter.config.credentials.database
        with rows.asked_for():
            found = adapter.execute_macro(GET_RELATIONS_MACRO_NAME)
        for schema_above, above, schema_below, below in found:
            if schema_below.lower() not in schemas:
                continue
            pair = (schema_below, below), (schema_above, above)
            keys = [
                _ReferenceKey(database.lower(), schema.lower(), name.lower())
                for schema, name in pair
            ]
            if kept.log_cache_events or not all(key in kept.relations for key in keys):
                kept.add_link(
                    *(
                        adapter.Relation.create(database=database, schema=schema, identifier=name)
                        for schema, name in pair
                    )
                )
                continue
            with kept.lock:
                kept._add_link(*keys)

    return link


def relation_like(
    first: dict[tuple[str, str, str], Any],
    made_by: Any,
    database: str,
    name: str,
    schema: str,
    kind: str,
) -> Any:
    """The relation that dbt's class `made_by` would make; `first` keeps one of each kind."""
    like = first.get((database, schema, kind))
    if like is not None:
        relation = object.__new__(made_by)
        relation.__dict__.update(like.__dict__, path=Path(database, schema, name))
        return relation
    try:
        known = made_by.get_relation_type(kind)
    except ValueError:
        known = made_by.External
    quoted = {"database": True, "schema": True, "identifier": True}
    relation = made_by.create(
        database=database, schema=schema, identifier=name, quote_policy=quoted, type=known
    )
    first[database, schema, kind] = relation
    return relation


class _Row(tuple[Any, ...]):
    def values(self) -> tuple[Any, ...]:
        return self


class _Rows:
    """The part of dbt's table that its own macros and adapter use."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self.rows = dict(enumerate(map(_Row, rows)))

    def __iter__(self) -> Iterator[_Row]:
        return iter(self.rows.values())


class PlainRows:
    """Answers lists of relations with plain rows. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._possible = not any(
            macro.name in LISTING and macro.package_name not in DBTS_OWN
            for macro in manifest.macros.values()
        )
        self._here = threading.local()

    @contextmanager
    def asked_for(self) -> Iterator[None]:
        """Answers this thread's queries within the block with plain rows, where possible."""
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
