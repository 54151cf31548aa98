"""Which nodes the ledger knows, and what their last builds left in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.node_history import LOOKED_AT, NodeHistory
from mage_dbt.model.request import Request
from mage_dbt.model.run import EventKind

NOW = datetime.now(UTC)

LEFT = {"model.shop.a", "model.shop.a_b", "model.shop2.a", "seed.shop.s", "snapshot.shop.p"}

OTHERS = {
    *("exposure.shop.e", "operation.shop.o", "saved_query.shop.q", "semantic_model.shop.m"),
    *("source.shop.raw.t", "test.shop.t", "unit_test.shop.a.u"),
}


@pytest.fixture(scope="module")
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    ledger = Ledger(postgres.url("runner"))
    ledger.open()
    yield ledger
    ledger.close()


def add(ledger: Ledger, number: int, target: str, *nodes: str, **more: object) -> str:
    """A run some minutes later with a result of each node; `more` are fields of the results."""
    run, at = f"20260101-000000-{number:06x}", NOW + timedelta(minutes=number)
    request = Request.parse({"caller": "kim"})
    ledger.add_run(NewRun(run, at, request, None, "c", "s", target, "1", None, None, 0))
    for line, node in enumerate(nodes):
        type, *_, name = node.split(".")
        data = {"node": node, "name": name, "type": type, "status": "success", "seconds": 1.0}
        ledger.event(run, at, EventKind.NODE_FINISHED, data | more, line)
    return run


def test_the_row_of_what_is_gone_is_its_last_build_on_the_target(ledger: Ledger) -> None:
    history, node = NodeHistory(ledger), "model.shop.gone"
    built = add(ledger, 1, "prod", node, relation='"w"."s"."gone"', materialized="table")
    failed = {"status": "error", "relation": '"w"."t"."gone"', "materialized": "ephemeral"}
    for number in range(2, LOOKED_AT + 10):
        add(ledger, number, "prod", node, **failed)
    add(ledger, 200, "dev", node, relation='"w"."dev"."gone"', materialized="view")
    (gone,) = history.last_states([node, "model.shop.never_ran"], "prod")
    assert (gone.built_run, gone.relation) == (built, '"w"."s"."gone"')
    assert (gone.name, gone.type, gone.materialized) == ("gone", "model", "table")
    assert [gone.relation for gone in history.last_states([node], "dev")] == ['"w"."dev"."gone"']
    assert history.last_states([node], "nowhere") == ()


def test_what_builds_leave_is_known_in_every_collation_that_the_server_has(
    ledger: Ledger, postgres: Postgres
) -> None:
    add(ledger, 300, "prod", *LEFT, *OTHERS)
    with psycopg.connect(postgres.url("ledger"), autocommit=True) as connection:
        known = connection.execute(
            "select distinct collname from pg_collation where collprovider in ('b', 'c')"
            " and collencoding in (-1, 6) and collname ~* %s",
            [r"^(C|pg_c_utf8|(en_US|ko_KR)(\.utf-?8)?)$"],
        ).fetchall()
        assert ("C",) in known
        for (collation,) in known:
            connection.execute(
                f'alter table ledger.node_result alter node type text collate "{collation}"'
            )
            assert NodeHistory(ledger).known() - {"model.shop.gone"} == LEFT, collation
