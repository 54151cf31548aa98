"""What dbt gets of the relations that stand in the warehouse is what its own way would give it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.cache import RelationsCache
from dbt.adapters.postgres.impl import PostgresAdapter
from dbt.adapters.postgres.relation import PostgresRelation
from dbt.adapters.sql.connections import SQLConnectionManager
from dbt_common.clients.agate_helper import as_matrix

from mage_dbt.dbt.patches.relations import PlainRows, patches, relation_like

PATCHED = (
    (RelationsCache, "add"),
    (RelationsCache, "add_link"),
    (RelationsCache, "get_relations"),
    (PostgresAdapter, "_link_cached_database_relations"),
    (SQLConnectionManager, "get_result_from_cursor"),
)

ROWS = [
    (database, name, schema, kind)
    for kind in ("table", "view", "materialized_view", "function", "no kind that dbt knows")
    for database in ("warehouse", "Ware House")
    for schema in ("analytics", "Ana_Lytics")
    for name in ("a", "A", 'with "quotes"', "größer", "x" * 63)
]


def parts(relation: Any) -> dict[str, Any]:
    return {**vars(relation), "said": str(relation), "hash": hash(relation)}


def test_a_relation_made_like_another_is_the_one_that_dbt_makes() -> None:
    alike: dict[tuple[str, str, str], Any] = {}
    for row in ROWS:
        mine = relation_like(alike, PostgresRelation, *row)
        dbts = relation_like({}, PostgresRelation, *row)  # the first of its kind: dbt's own
        assert mine == dbts and parts(mine) == parts(dbts), row
    assert len(alike) == 20


def test_parts_of_one_are_not_parts_of_another() -> None:
    alike: dict[tuple[str, str, str], Any] = {}
    one, two = (relation_like(alike, PostgresRelation, "d", name, "s", "table") for name in "ab")
    assert (one.identifier, two.identifier) == ("a", "b")
    with pytest.raises(AttributeError):  # frozen, as dbt makes them: shared parts cannot change
        two.type = None


@pytest.fixture
def dbts_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the shortcuts replace, by name; it is back after the test."""
    for of, name in PATCHED:
        monkeypatch.setattr(of, name, of.__dict__[name])
    yield {name: getattr(of, name) for of, name in PATCHED}


def take(rows: PlainRows, *functions: str) -> None:
    for one in patches(rows):
        if one.name.split(".")[1] in functions:
            one.apply()


def named(*parts: str) -> Any:
    database, schema, identifier = parts
    return PostgresRelation.create(database=database, schema=schema, identifier=identifier)


def filled(names: Sequence[tuple[str, str, str]]) -> RelationsCache:
    kept = RelationsCache()
    for one in names:
        kept.add(named(*one))
    return kept


def told(kept: RelationsCache) -> dict[str, Any]:
    return {"graph": kept.dump_graph(), "schemas": kept.schemas, "keys": list(kept.relations)}


def test_the_cache_is_filled_and_asked_as_dbt_does_it(dbts_own: dict[str, Any]) -> None:
    chance = random.Random(1)
    names = [
        (chance.choice(["w", "W"]), chance.choice("sST"), chance.choice("abcAB") + str(number % 40))
        for number in range(300)
    ]
    theirs = filled(names)
    take(PlainRows(SimpleNamespace(macros={})), "add", "add_link", "get_relations")
    mine = filled(names)
    for kept in (theirs, mine):
        kept.rename(named("w", "s", "a1"), named("w", "T", "New"))
        kept.drop(named("w", "t", "b2"))
    assert told(mine) == told(theirs)
    for asked in (("w", "s"), ("W", "S"), ("w", "t"), ("w", "nothing"), (None, "s"), ("w", None)):
        found = mine.get_relations(*asked)
        assert found == dbts_own["get_relations"](theirs, *asked), asked
        assert bool(found) == (asked[0] is not None and asked[1] in ("s", "S", "t"))


def test_views_are_linked_to_what_they_read_as_dbt_links_them(dbts_own: dict[str, Any]) -> None:
    names = [("w", "s", one) for one in ("table", "View", "above", "MiXed")]
    pairs = [
        ("s", "View", "s", "table"),
        ("s", "above", "s", "View"),
        ("s", "MiXed", "s", "table"),
        ("elsewhere", "view", "s", "table"),
        ("s", "View", "elsewhere", "table"),
        ("s", "View", "S", "made meanwhile"),
    ]

    def adapter() -> Any:
        return SimpleNamespace(
            cache=filled(names),
            config=SimpleNamespace(credentials=SimpleNamespace(database="w")),
            Relation=PostgresRelation,
            execute_macro=lambda name: pairs,
        )

    theirs, mine = adapter(), adapter()
    dbts_own["_link_cached_database_relations"](theirs, {"s"})
    take(PlainRows(SimpleNamespace(macros={})), "_link_cached_database_relations")
    PostgresAdapter._link_cached_database_relations(mine, {"s"})
    assert told(mine.cache) == told(theirs.cache)
    assert len(mine.cache.relations) == 6


class Answer:
    """A cursor that has been asked."""

    description = (("schema",), ("name",))

    def fetchall(self) -> list[tuple[str, str]]:
        return [("s", "table"), ("s", "größer"), ("s", "1")]


def macro(name: str, package: str) -> SimpleNamespace:
    return SimpleNamespace(macros={"one": SimpleNamespace(name=name, package_name=package)})


def test_plain_rows_are_the_rows_of_dbts_table_where_they_are_asked_for(
    dbts_own: dict[str, Any],
) -> None:
    theirs = SQLConnectionManager.get_result_from_cursor(Answer(), None)
    rows = PlainRows(macro("statement", "dbt"))
    rows.patches()[0].apply()
    with rows.asked_for():
        mine = SQLConnectionManager.get_result_from_cursor(Answer(), None)
    assert [tuple(one) for one in mine] == [tuple(one) for one in theirs] and len([*mine]) == 3
    assert as_matrix(mine) == as_matrix(theirs)
    after = SQLConnectionManager.get_result_from_cursor(Answer(), None)
    assert type(after) is type(theirs) is not type(mine)


@pytest.mark.parametrize("name", ["statement", "postgres__get_relations"])
def test_a_macro_of_the_projects_own_gets_dbts_table(dbts_own: dict[str, Any], name: str) -> None:
    rows = PlainRows(macro(name, "dbt_metric"))
    rows.patches()[0].apply()
    with rows.asked_for():
        answer = SQLConnectionManager.get_result_from_cursor(Answer(), None)
    assert answer.column_names == ("schema", "name")
