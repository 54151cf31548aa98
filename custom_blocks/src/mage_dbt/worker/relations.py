"""The relations that stand in the warehouse, as dbt lists, links, keeps and looks for them.

A run lists all that stand in the schemas it writes to, because any macro may ask for any of them.
What dbt does with each it does as often as there are relations; here the same is done with less.
"""

from __future__ import annotations

from typing import Any

from dbt.adapters.base import BaseAdapter
from dbt.adapters.cache import RelationsCache, _CachedRelation
from dbt.adapters.contracts.relation import Path
from dbt.adapters.reference_keys import _make_ref_key, _ReferenceKey, lowercase
from dbt.adapters.sql.impl import LIST_RELATIONS_MACRO_NAME, SQLAdapter
from dbt.contracts.graph.manifest import Manifest

from mage_dbt.worker.plain_rows import PlainRows


def shorten(manifest: Manifest) -> None:
    """From now on, in this process; once."""
    rows = PlainRows(manifest)
    _fill_the_cache_without_events()
    _look_up_by_key()
    _match_by_name_first()
    _list_alike(rows)
    _link_known(rows)


def _fill_the_cache_without_events() -> None:
    """dbt makes an event of each relation that stands in a schema, and of each that a view reads;
    its log leaves them out unless it was asked for them (`--log-cache-events`). They are most of
    the time that it takes to list many."""
    add_with_event, link_with_event = RelationsCache.add, RelationsCache.add_link

    def add(kept: Any, relation: Any) -> None:
        if kept.log_cache_events:
            add_with_event(kept, relation)
            return
        key = _make_ref_key(relation)
        with kept.lock:
            kept.schemas.add((key.database, key.schema))
            kept.relations.setdefault(key, _CachedRelation(relation))

    def add_link(kept: Any, referenced: Any, dependent: Any) -> None:
        if kept.log_cache_events:
            link_with_event(kept, referenced, dependent)
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

    RelationsCache.add, RelationsCache.add_link = add, add_link


def _look_up_by_key() -> None:
    """dbt's cache keeps each relation by its names in lower case, and makes them again of each
    relation to list those of one schema, as it does several times a model."""

    def relations(kept: Any, database: str | None, schema: str | None) -> list[Any]:
        wanted = lowercase(database), lowercase(schema)
        with kept.lock:
            return [
                one.inner
                for key, one in kept.relations.items()
                if (key.database, key.schema) == wanted
            ]

    RelationsCache.get_relations = relations


def _list_alike(rows: PlainRows) -> None:
    """dbt looks at all parts of each relation that stands in a schema, to make an object of it.
    Those of one kind differ in their names: dbt makes the first, the others are copies of it."""
    original = SQLAdapter.list_relations_without_caching

    def listed(adapter: Any, schema_relation: Any) -> list[Any]:
        if adapter.type() != "postgres":
            return list(original(adapter, schema_relation))
        with rows.asked_for():
            found = adapter.execute_macro(
                LIST_RELATIONS_MACRO_NAME, kwargs={"schema_relation": schema_relation}
            )
        first: dict[tuple[str, str, str], Any] = {}
        return [relation_like(first, adapter.Relation, *row) for row in found]

    SQLAdapter.list_relations_without_caching = listed


def _link_known(rows: PlainRows) -> None:
    """dbt makes two relations of each pair of a view and what it reads. Where both are in its cache
    already, as they are unless a view was made in between, only their names are needed."""
    try:
        from dbt.adapters.postgres.impl import GET_RELATIONS_MACRO_NAME, PostgresAdapter
    except ImportError:
        return  # the team's dbt has another adapter

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

    PostgresAdapter._link_cached_database_relations = link


def relation_like(
    first: dict[tuple[str, str, str], Any],
    made_by: Any,
    database: str,
    name: str,
    schema: str,
    kind: str,
) -> Any:
    """The relation that `made_by` (dbt's class) would make; `first` keeps one of each kind."""
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


def _match_by_name_first() -> None:
    """dbt compares database, schema and name of every relation with those it looks for. One whose
    name is another, whatever its case and quotes, matches neither exactly nor nearly."""
    original = BaseAdapter._make_match

    def match(adapter: Any, relations: list[Any], database: str, schema: str, name: str) -> Any:
        if name and adapter.type() == "postgres":
            plain = name.lower().strip('"')
            relations = [
                one for one in relations if str(one.path.identifier).lower().strip('"') == plain
            ]
        return original(adapter, relations, database, schema, name)

    BaseAdapter._make_match = match
