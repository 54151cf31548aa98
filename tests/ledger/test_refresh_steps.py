"""The steps of a refresh stand with its run, and what was discarded repairs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mage_dbt.explain.groups import grouped
from mage_dbt.explain.stopped import changed_nothing, stopped
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.model.refresh import Check, CheckName, Comparison, Kept, RefreshStep, Step
from mage_dbt.model.request import Request
from mage_dbt.model.run import EventKind, RunState
from mage_dbt.runner.reconcile import end_abandoned
from mage_dbt.workers.job import EVENTS_FILE

NOW = datetime.now(UTC)

REFRESHED = "20260101-000000-00000a"
HELD = "20260101-000000-00000d"


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Ledger]:
    made = Ledger(postgres.url("runner"))
    made.open()
    yield made
    made.close()


def add(
    ledger: Ledger, run: str, operation: str, *steps: RefreshStep, target: str = "prod"
) -> None:
    """A run that has built one node, with these steps."""
    request = Request.parse({"operation": operation, "models": "a", "caller": "kim"})
    ledger.add_run(NewRun(run, NOW, request, None, "c", "s", target, "1", None, None, 0))
    node = {"node": "model.a", "name": "a", "type": "model", "status": "success", "seconds": 2.0}
    ledger.event(run, NOW, EventKind.NODE_FINISHED, node, 1)
    for line, step in enumerate(steps, start=2):
        at = NOW + timedelta(seconds=line)
        ledger.event(run, at, EventKind.REFRESH, step.of_event(), line)


def test_a_run_has_its_steps_in_order_and_a_list_leaves_them_out(ledger: Ledger) -> None:
    check = Check(CheckName.ROWS, False, "700 instead of 1,000.", "model.a", overridden=True)
    kept = Kept(REFRESHED, "model.a", "s.a", "mage_dbt_old_x", "table", NOW, NOW, 8192)
    comparison = Comparison("model.a", "a", rows_before=1000, rows_after=700, only_before=300)
    steps = (
        RefreshStep(Step.ASIDE, "Aside."),
        RefreshStep(Step.CHECKED, check.text, check=check),
        RefreshStep(Step.COMPARED, "Compared.", comparison=comparison),
        RefreshStep(Step.SWAPPED, "Swapped.", kept=(kept,), lock_seconds=0.02, tries=2),
    )
    add(ledger, REFRESHED, "full_refresh", *steps)
    ledger.event(REFRESHED, NOW, EventKind.REFRESH, {"message": "PostgreSQL refused it"}, 99)
    run = ledger.run(REFRESHED)
    assert [step.text for step in run.refresh] == [step.text for step in steps]
    assert [step.at for step in run.refresh] == [NOW + timedelta(seconds=n) for n in range(2, 6)]
    assert run.refresh[1].check == check and run.refresh[2].comparison == comparison
    assert run.refresh[3].kept == (kept,)
    assert type(run).from_json(run.to_json()) == run
    (listed,) = ledger.runs(1)
    assert listed.refresh == () and "refresh" not in listed.summary()


def test_what_was_discarded_and_what_was_undone_repairs_nothing(ledger: Ledger) -> None:
    aside, swapped = RefreshStep(Step.ASIDE, "Aside."), RefreshStep(Step.SWAPPED, "Swapped.")
    discarded, undone, refreshed = (f"20260102-000000-00000{letter}" for letter in "abc")
    add(ledger, discarded, "full_refresh", aside, RefreshStep(Step.DISCARDED, "Dropped."))
    add(ledger, undone, "undo_refresh", swapped)
    add(ledger, refreshed, "full_refresh", aside, swapped)
    asked = ledger.asked_since("prod", NOW)
    build = Request.parse({"models": "a"})
    assert discarded not in asked and ledger.run(discarded).discarded
    alike = [run for run, request in asked.items() if request.does_all_of(build)]
    assert refreshed in alike and undone not in alike


def test_an_undo_does_not_say_how_long_a_build_takes(ledger: Ledger) -> None:
    undone, refreshed = "20260103-000000-00000a", "20260103-000000-00000b"
    add(ledger, undone, "undo_refresh", RefreshStep(Step.SWAPPED, "Swapped."), target="dev")
    assert ledger.estimates(["model.a"], [], "dev", False) == {}
    add(ledger, refreshed, "full_refresh", RefreshStep(Step.ASIDE, "Aside."), target="dev")
    assert ledger.estimates(["model.a"], [], "dev", False) == {"model.a": 2.0}


def test_a_decision_reaches_the_runner_that_has_the_run(ledger: Ledger) -> None:
    add(ledger, HELD, "full_refresh", RefreshStep(Step.HOLDS, "Ready.", until=NOW))
    ledger.state(HELD, RunState.RUNNING)
    assert ledger.run(HELD).holds and ledger.asked_to_swap([HELD]) == {}
    ledger.ask_to_swap(HELD, "kim")
    assert ledger.asked_to_swap([HELD, REFRESHED]) == {HELD: "kim"}
    assert ledger.asked_to_cancel([HELD]) == {}
    ledger.state(HELD, RunState.CANCELLED)
    assert not ledger.run(HELD).holds


def test_a_decision_that_its_dead_runner_never_heard_of_is_not_lost(
    ledger: Ledger, tmp_path: Path
) -> None:
    cancelled, decided = (f"20260105-000000-00000{letter}" for letter in "ab")
    for run in (cancelled, decided):
        add(ledger, run, "full_refresh", RefreshStep(Step.HOLDS, "Ready.", until=NOW))
        ledger.state(run, RunState.RUNNING)
    ledger.ask_to_cancel(cancelled, "oleg")
    ledger.ask_to_swap(decided, "ana")
    for run in (cancelled, decided):
        end_abandoned(ledger.run(run), tmp_path, ledger)
    over = ledger.run(cancelled)
    assert (over.state, over.detail) == (RunState.CANCELLED, "Cancelled by oleg.")
    over = ledger.run(decided)
    assert over.state is RunState.ERROR
    assert "ana had decided to swap." in over.detail, over.detail


def test_what_its_dead_runner_took_with_it_is_no_failure_of_a_node(
    ledger: Ledger, tmp_path: Path
) -> None:
    run = "20260105-000000-00000c"
    add(ledger, run, "full_refresh", RefreshStep(Step.ASIDE, "Aside."))
    ledger.state(run, RunState.RUNNING)
    lost = {"status": "error", "sqlstate": "08006", "message": "server closed the connection"}
    wrong = {"status": "error", "sqlstate": "42703", "message": 'column "x" does not exist'}
    with (tmp_path / EVENTS_FILE).open("w") as file:
        for name, data in (("b", lost), ("c", wrong)):
            node = {"node": f"model.{name}", "name": name, "type": "model", **data}
            event = {"at": NOW.timestamp(), "kind": "node_finished", **node}
            # Events of `add` had the lines before.
            file.write("\n\n" * (name == "b") + json.dumps(event) + "\n")
    end_abandoned(ledger.run(run), tmp_path, ledger)
    over = ledger.run(run)
    assert over.state is RunState.ERROR
    failed, ended = grouped(over.failed, {}, stopped(over))
    assert ended.reason == "The runner was stopped while this run was going on."
    assert [node.name for node in ended.skipped] == ["b"] and not ended.failed
    assert [node.name for node in failed.failed] == ["c"]
    assert ended.skipped[0].message.endswith("\n\nserver closed the connection")
    assert changed_nothing(over)
