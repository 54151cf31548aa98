"""What people read of a run says what is wrong, why, and on which commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mage_dbt import report
from mage_dbt.plan import Differs, Plan, PlannedNode
from mage_dbt.run import RUN_ID, Event, NodeResult, Run, RunState, new_run_id

NOW = datetime(2026, 11, 23, 8, 4, tzinfo=UTC)


def a_run(*nodes: NodeResult, state: RunState = RunState.ERROR, late: int = 0) -> Run:
    return Run(
        id="20261123-080000-4f2a9c",
        operation="build",
        state=state,
        detail="2 of 3 nodes did not pass: fct_orders.",
        asked_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        request={"select": []},
        commit="3f2c1ab9999",
        commit_subject="Add refunds",
        target="prod",
        dbt_version="1.11.16",
        cause="schedule",
        caller="Mage",
        why="",
        mage_run=1,
        follows=None,
        morning="2026-11-23" if late else None,
        late_seconds=late,
        planned=(),
        nodes=nodes,
    )


OK = NodeResult("model.m.dim", "dim", "model", "success", 1.25, 30)
BAD = NodeResult("model.m.fct_orders", "fct_orders", "model", "error", 0.5, None, "column x")
LEFT = NodeResult("model.m.daily", "daily", "model", "skipped", because="fct_orders")


def test_what_is_wrong_stands_first_in_the_table() -> None:
    names = [row["node"] for row in report.rows([OK, LEFT, BAD])]
    assert names == ["fct_orders", "daily", "dim"]


def test_tests_that_passed_are_counted_and_not_listed() -> None:
    passed = NodeResult("test.m.t", "unique_dim_id", "test", "pass")
    failed = NodeResult("test.m.u", "not_null_dim_id", "test", "fail", message="Got 2 results")
    text = "\n".join(report.table([OK, passed, failed]))
    assert "unique_dim_id" not in text and "and 1 tests that passed" in text
    assert "not_null_dim_id" in text and "Got 2 results" in text


def test_a_line_tells_a_tests_failures_and_a_models_rows() -> None:
    def told(kind: str, status: str, rows: int) -> str:
        return report.node_line(NodeResult("n", "name", kind, status, 1.0, rows), "1/1")

    assert told("test", "fail", 2).endswith("2 failures")
    assert told("test", "pass", 2).endswith("2 failures")  # as many as it allows
    assert told("test", "pass", 0).endswith("1.0 s")
    assert told("model", "success", 0).endswith("0 rows")


def test_a_skipped_node_names_the_upstream_that_caused_it() -> None:
    assert report.why(LEFT) == "skipped because fct_orders did not pass"


def test_a_failure_names_the_run_so_that_a_retry_finds_it() -> None:
    text = report.failure(a_run(OK, BAD, LEFT))
    found = RUN_ID.search(text)
    assert found and found.group() == "20261123-080000-4f2a9c"
    assert "First: fct_orders: column x" in text


def test_a_late_morning_says_how_late() -> None:
    line = report.headline(a_run(OK, state=RunState.SUCCESS, late=7860))
    assert "the build of 2026-11-23, 2 h 11 min late" in line
    assert '3f2c1ab "Add refunds"' in line


def test_progress_counts_nodes_but_not_hooks() -> None:
    progress = report.Progress()
    events = [
        Event(1, NOW, "plan", {"names": ["dim", "fct_orders"], "warnings": ["look out"]}),
        Event(2, NOW, "node_finished", OK.to_json()),
        Event(3, NOW, "node_finished", OK.to_json() | {"type": "operation", "name": "hook"}),
        Event(4, NOW, "node_finished", BAD.to_json()),
    ]
    lines = [line for event in events for line in progress.lines(event)]
    assert lines[:2] == ["Plan: 2 nodes", "Warning: look out"]
    assert lines[2].startswith("1/2  success  dim") and lines[4].startswith("2/2  error")


def test_run_ids_sort_by_time() -> None:
    later = datetime(2026, 11, 23, 8, 5, tzinfo=UTC)
    assert new_run_id(NOW) < new_run_id(later)
    assert RUN_ID.fullmatch(new_run_id(NOW))


def test_a_story_says_what_failed_who_repaired_it_and_with_which_commit() -> None:
    seoul = ZoneInfo("Asia/Seoul")
    root = replace(
        a_run(OK, BAD, LEFT),
        morning="2026-11-23",
        asked_at=datetime(2026, 11, 22, 23, 0, tzinfo=UTC),
        finished_at=datetime(2026, 11, 22, 23, 4, tzinfo=UTC),
    )
    asked = datetime(2026, 11, 22, 23, 31, tzinfo=UTC)
    rerun = replace(
        a_run(OK, state=RunState.SUCCESS),
        id="20261122-233100-1b2c3d",
        operation="rerun_failed",
        commit="9a8b7c6aaaa",
        caller="alice",
        follows=root.id,
        asked_at=asked,
        finished_at=asked,
    )
    still = replace(rerun, state=RunState.ERROR, caller="bob", nodes=(BAD,))
    going_on = replace(rerun, state=RunState.RUNNING, finished_at=None)
    stopped = replace(rerun, state=RunState.CANCELLED, detail="Cancelled by lee with mage-dbt.")
    runs = [root, still, stopped, rerun, going_on]
    assert [one["text"] for one in report.story(runs, seoul)] == [
        "08:00 daily build of 2026-11-23 on 3f2c1ab failed at 08:04 (fct_orders)",
        "08:31 rerun by bob on 9a8b7c6 failed at 08:31 (fct_orders) (run 20261122-233100-1b2c3d)",
        "08:31 rerun by alice on 9a8b7c6 was cancelled at 08:31 by lee with mage-dbt "
        "(run 20261122-233100-1b2c3d)",
        "08:31 fixed by alice with 9a8b7c6 (run 20261122-233100-1b2c3d)",
        "08:31 rerun by alice on 9a8b7c6 is Running (run 20261122-233100-1b2c3d)",
    ]


def test_a_plan_says_what_it_waits_for_how_the_commit_differs_and_how_long_it_takes() -> None:
    plan = Plan(
        "a" * 40,
        (PlannedNode("model.m.dim", "dim", "model", estimated_seconds=75.0),),
        warnings=("look out",),
        notes=("fct_order was renamed to fct_orders.",),
        waits_for=("dim, held by run 1",),
        differs=Differs("b" * 40, 2, ("dim",), (), ("new",)),
        estimated_seconds=75.0,
    )
    assert list(report.plan_lines(plan.to_json())) == [
        "Warning: look out",
        "Note: fct_order was renamed to fct_orders.",
        "Would wait: dim, held by run 1",
        "Other at aaaaaaa than at bbbbbbb, the newest: dim.",
        "Only at bbbbbbb, the newest: new.",
        "It takes about 1 min (1 of 1 nodes have run before).",
    ]
