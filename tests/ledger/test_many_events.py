"""Many events of one run go into the ledger together: none is lost, and none is seen too late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest

from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewEvent, NewRun
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.request import Request
from mage_dbt.model.run import RUNNER_STOPPED, EventKind, RunState
from mage_dbt.runner.reconcile import end_abandoned
from mage_dbt.runner.record import Record
from mage_dbt.workers.job import EVENTS_FILE

NOW = datetime.now(UTC)

NODES = 5_000

MOST_TRANSACTIONS = 20
"""For the events of so many nodes."""


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    made = Ledger(postgres.url("runner"))
    made.open()
    yield made
    made.close()


def add(ledger: Ledger, run: str) -> str:
    request = Request.parse({"operation": "build", "caller": "kim"})
    ledger.add_run(NewRun(run, NOW, request, None, "c", "s", "prod", "1", None, None, 0))
    return run


def plan(ledger: Ledger, run: str, nodes: int) -> None:
    planned = [PlannedNode(f"model.a.m{number}", f"m{number}", "model") for number in range(nodes)]
    data = {
        "names": [node.name for node in planned],
        "nodes": [node.to_json() for node in planned],
        "counted": nodes,
        "warnings": [],
    }
    ledger.event(run, NOW, EventKind.PLAN, data)


def line(kind: str, **data: Any) -> str:
    return json.dumps({"at": NOW.timestamp(), "kind": kind, **data}) + "\n"


def started(number: int) -> str:
    return line("node_started", node=f"model.a.m{number}", name=f"m{number}")


def finished(number: int, **more: Any) -> str:
    node = {"node": f"model.a.m{number}", "name": f"m{number}", "type": "model"}
    return line("node_finished", **{**node, "status": "success", "seconds": 0.1, **more})


def transactions(ledger: Ledger, table: str, run: str) -> int:
    """In how many the run's rows were written."""
    [row] = ledger.rows(
        f"select count(distinct xmin::text) as number from ledger.{table} where run = %(run)s",
        {"run": run},
    )
    return int(row["number"])


def test_what_a_dead_runner_left_of_a_large_run_gets_its_results_together(
    ledger: Ledger, tmp_path: Path
) -> None:
    run = add(ledger, "20260201-000000-00000a")
    plan(ledger, run, NODES)
    ledger.state(run, RunState.RUNNING)
    done = NODES // 2
    lines = [text for number in range(done) for text in (started(number), finished(number))]
    # The dead runner had taken the first of them, and dbt was in the middle of a word.
    ledger.event(run, NOW, EventKind.NODE_STARTED, {"node": "model.a.m0", "name": "m0"}, 1)
    (tmp_path / EVENTS_FILE).write_text("".join([*lines, started(done), '{"at": 17']))
    end_abandoned(ledger.run(run), tmp_path, ledger)

    found = ledger.run(run)
    statuses = {node.node: node.status for node in found.nodes}
    assert len(found.nodes) == len(statuses) == NODES
    assert [statuses[f"model.a.m{number}"] for number in (0, done - 1, done, done + 1)] == (
        ["success", "success", "error", "skipped"]
    )
    assert found.counts() == {"success": done, "error": 1, "skipped": NODES - done - 1}
    assert found.state is RunState.ERROR and RUNNER_STOPPED in found.detail.lower()
    [row] = ledger.rows(
        "select count(*) as events, count(distinct line) as lines from ledger.event"
        " where run = %(run)s and kind in ('node_started', 'node_finished')",
        {"run": run},
    )
    assert (row["lines"], row["events"]) == (2 * done + 1 + NODES - done,) * 2
    assert transactions(ledger, "event", run) < MOST_TRANSACTIONS
    assert transactions(ledger, "node_result", run) < MOST_TRANSACTIONS


def test_results_that_are_added_again_are_there_once(ledger: Ledger, tmp_path: Path) -> None:
    run = add(ledger, "20260204-000000-00000a")
    plan(ledger, run, 3)
    (tmp_path / EVENTS_FILE).write_text(finished(1))
    # The second knows nothing of what the first has added, as after an answer that was lost.
    for _ in range(2):
        record = Record(run, tmp_path / EVENTS_FILE, ledger)
        record.take()
        record.fill(ledger.plan(ledger.run(run)), "the worker is gone")
    found = [event for event in ledger.events(run) if event.kind is EventKind.NODE_FINISHED]
    assert sorted(event.data["name"] for event in found) == ["m0", "m1", "m2"]


def test_an_event_that_postgresql_refuses_takes_none_of_the_others_along(ledger: Ledger) -> None:
    run = add(ledger, "20260202-000000-00000a")
    rows = [10, 10**30, 20]
    events = [
        NewEvent(NOW, EventKind.NODE_FINISHED, json.loads(finished(number, rows=count)), number + 1)
        for number, count in enumerate(rows)
    ]
    ledger.add_events(run, events)
    kept = [event for event in ledger.events(run) if event.kind is EventKind.NODE_FINISHED]
    assert [event.data["name"] for event in kept] == ["m0", "m1", "m2"]
    assert "PostgreSQL refuses" in kept[1].data["message"]
    assert {node.name: node.rows for node in ledger.run(run).nodes} == {
        "m0": 10,
        "m1": None,
        "m2": 20,
    }


def test_who_follows_a_run_misses_no_event_while_many_are_added_at_once(ledger: Ledger) -> None:
    run = add(ledger, "20260203-000000-00000a")
    over = Signal()

    def decide() -> None:
        while not over.is_set():
            ledger.event(run, NOW, EventKind.LOG, {"level": "info", "text": "a decision"})

    def add_many() -> None:
        for first in range(0, 10_000, 1000):
            ledger.add_events(
                run,
                [
                    NewEvent(NOW, EventKind.LOG, {"text": "of dbt"}, number + 1)
                    for number in range(first, first + 1000)
                ],
            )
        over.set()

    threads = [Thread(target=task) for task in (decide, add_many)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads):
        seen += [event.seq for event in ledger.events(run, seen[-1] if seen else 0, 100_000)]
    seen += [event.seq for event in ledger.events(run, seen[-1], 100_000)]
    rows = ledger.rows(
        "select seq from ledger.event where run = %(run)s order by seq", {"run": run}
    )
    assert seen == [row["seq"] for row in rows]
