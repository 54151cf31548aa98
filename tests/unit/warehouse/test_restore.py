"""How views are put in order and together, before they are made again."""

from __future__ import annotations

from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.restore import (
    MATERIALIZED_VIEW,
    Right,
    SavedView,
    Statement,
    groups,
    reaching,
)


def view(oid: int, *reads: int) -> SavedView:
    return SavedView(oid, Name("", "bi", f"v{oid}"), "view", "select 1", "1", "dbt", reads=reads)


def test_views_that_read_each_other_come_back_together_and_in_order() -> None:
    views = [view(1, 100), view(2, 1), view(3, 200), view(4, 3, 2), view(5, 300)]
    found = [[member.oid for member in group] for group in groups(views)]
    assert sorted(found) == [[1, 2, 3, 4], [5]]


def test_a_view_reaches_the_nodes_below_the_views_that_it_reads() -> None:
    found = reaching({1: [100], 2: [1, 200], 3: [2, 1]}, {100: "orders", 200: "lines", 1: "seen"})
    assert found == {1: ("orders",), 2: ("lines", "orders", "seen"), 3: ("lines", "orders", "seen")}


def test_a_saved_view_is_read_back_as_it_was_written() -> None:
    saved = SavedView(
        1,
        Name("", "BI", 'a "b"'),
        MATERIALIZED_VIEW,
        "select 1",
        "77",
        "dbt",
        options=(("fillfactor", "70"),),
        rights=(Right("", "", "SELECT"), Right("id", "analyst", "SELECT", True)),
        more=(Statement("the index x", "create index x on y", early=True),),
        reads=(2,),
        nodes=("model.shop.orders",),
    )
    assert SavedView.from_json(saved.to_json()) == saved
    assert saved.name.shown == '"BI"."a ""b"""'


def test_a_mark_is_replaced_wherever_it_stands() -> None:
    saved = SavedView(
        1, Name("", "bi", "v"), "view", "select a from s.mark_1", "1", "dbt",
        more=(Statement("the rule r", "create rule r as on s.mark_1"),),
    )  # fmt: skip
    renamed = saved.renamed("mark_1", '"Orders"')
    assert renamed.definition == 'select a from s."Orders"'
    assert renamed.more[0].sql == 'create rule r as on s."Orders"'
