"""A relation that is made like another of its kind is the one that dbt makes."""

from __future__ import annotations

from typing import Any

import pytest
from dbt.adapters.postgres.relation import PostgresRelation

from mage_dbt.worker.shortcuts import relation_like

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
