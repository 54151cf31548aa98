"""Two spellings of one relation are one relation, as the server reads them."""

from __future__ import annotations

import pytest

from mage_dbt.warehouse import Target, warehouse_of
from mage_dbt.warehouse.names import Name

POSTGRES = warehouse_of("postgres", lambda sql: [])
OTHER = warehouse_of("trino", lambda sql: [])
UNKNOWN = warehouse_of("redshift", lambda sql: [])


@pytest.mark.parametrize(
    ("rendered", "name"),
    [
        ('"wh"."analytics"."facts"', Name("wh", "analytics", "facts")),
        ('"wh".Analytics.FACTS', Name("wh", "analytics", "facts")),
        ('"wh"."Analytics"."Facts"', Name("wh", "Analytics", "Facts")),
        ('analytics."a.b"', Name("", "analytics", "a.b")),
        ('"a ""quoted"" one"', Name("", "", 'a "quoted" one')),
        ("analytics.ÉTÉ", Name("", "analytics", "ÉtÉ")),  # the server folds ASCII only
        (f'"{"é" * 40}"', Name("", "", "é" * 31)),  # 63 bytes, and no half of a letter
        ('"a{b}"', Name("", "", "a{b}")),
    ],
)
def test_postgresql_folds_what_has_no_quotes(rendered: str, name: Name) -> None:
    assert POSTGRES.folding.name(rendered) == name
    assert POSTGRES.folding.name(str(name)) == name


def test_elsewhere_what_may_be_one_relation_counts_as_one() -> None:
    spellings = ("`Lake`.`Main`.`Facts`", '"lake"."main"."facts"', "lake.main.FACTS")
    assert {OTHER.folding.identity(one) for one in spellings} == {'"lake"."main"."facts"'}
    assert OTHER.folding.identity("a.b.c.d.e") == "a.b.c.d.e"


def test_names_that_dbt_cuts_off_to_the_same_are_written_by_one_run_at_a_time() -> None:
    short, long = "s.facts", "s." + "x" * 52
    assert POSTGRES.written(Target("model.m.facts", short)) == ('"s"."facts"',)
    one, two = (set(POSTGRES.written(Target("model.m.x", long + end))) for end in "12")
    assert one & two == {f'"s"."{"x" * 51}__dbt_backup"'}


def test_a_guard_is_told_when_nobody_knows_what_falls() -> None:
    replaced = [Target("model.m.facts", "s.facts", frozenset({"table"}))]
    assert OTHER.lost(replaced).unknown == "" and "redshift" in UNKNOWN.lost(replaced).unknown
    assert UNKNOWN.lost([Target("model.m.facts", "s.facts")]).unknown == ""
    assert "dropped along" in UNKNOWN.unknown and "dropped along" not in OTHER.unknown
