"""What people read of a run says what is wrong, why, and on which commit."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mage_dbt.base.clock import Clock
from mage_dbt.client import report
from mage_dbt.model.plan import Differs, Plan, PlannedNode
from mage_dbt.model.refresh import Kept
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import RUN_ID, Event, EventKind, NodeResult, Run, RunState, new_run_id
from mage_dbt.model.survey import Survey

NOW = datetime(2026, 11, 23, 8, 4, tzinfo=UTC)


def a_run(*nodes: NodeResult, state: RunState = RunState.ERROR, late: int = 0) -> Run:
    return Run(
        id="20261123-080000-4f2a9c",
        operation=Operation.BUILD,
        state=state,
        detail="2 of 3 nodes did not pass: fct_orders.",
        asked_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        request=Request(Operation.BUILD),
        commit="3f2c1ab9999",
        commit_subject="Add refunds",
        target="prod",
        dbt_version="1.11.16",
        cause=Cause.SCHEDULE,
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
    text = "\n".join(report.summary(a_run(OK, passed, failed)))
    assert "unique_dim_id" not in text and "and 1 test that passed" in text
    assert "not_null_dim_id" in text and "Got 2 results" in text


WORDS = 'column "amout" does not exist\nLINE 3:     amout\n            ^'
WHERE = "Database Error in model f0 (models/f0.sql)\ncompiled code at target/run/f0.sql"
MANY = [
    *[OK],
    *[
        NodeResult(f"model.m.s{n}", f"s{n}", "model", "skipped", because=f"f{n % 29}")
        for n in range(1412)
    ],
    *[
        NodeResult(f"model.m.f{n}", f"f{n}", "model", "error", message=f"{WORDS}\n\n{WHERE}")
        for n in range(29)
    ],
]
"""As a real daily build was: 29 failures among 1,412 skipped nodes."""


def test_failures_come_first_and_skipped_nodes_after_them_a_line_for_each_cause() -> None:
    lines = "\n".join(report.summary(a_run(*MANY))).split("\n")
    at = {
        name: lines.index(next(one for one in lines if one.startswith(name)))
        for name in ("error    f0", "error    f28", "49 skipped because of f0", "node")
    }
    assert list(at.values()) == sorted(at.values())
    skipped = [one for one in lines if " skipped because of " in one]
    assert len(skipped) == 29
    assert skipped[0] == "49 skipped because of f0: s0, s29, s58, s87, s116 and 44 more"
    assert any(one.startswith("All of them: ./scripts/mage-dbt show") for one in lines)
    assert len(lines) < 29 * 9 + 29 + 12


def test_a_reason_is_there_whole_with_its_line_breaks_wherever_it_is_told() -> None:
    long = NodeResult("n", "n", "model", "error", message=f"{WORDS}\n{'x' * 5000}\n\n{WHERE}")
    moved = "\n".join(f"    {one}".rstrip() for one in long.message.split("\n"))
    run = a_run(long)
    for text in (
        "\n".join(report.summary(run)),
        "\n".join(line.text for line in report.ending(run)),
        report.node_line(long, "1/1"),
    ):
        assert moved in text
        assert text.index("does not exist") < text.index("Database Error")
    assert report.rows([long])[0]["why"] == long.message
    assert long.message in report.failure(run)


def test_a_blocks_table_has_one_row_for_what_one_cause_kept_from_running() -> None:
    rows = report.rows(MANY)
    assert [one["status"] for one in rows] == ["error"] * 29 + ["skipped"] * 29 + ["success"]
    assert rows[29]["node"] == "s0, s29, s58, s87, s116 and 44 more"
    assert rows[29]["why"] == "skipped because f0 did not pass"


def test_while_a_run_goes_on_a_cause_of_skipping_is_told_once_and_all_are_counted() -> None:
    progress = report.Progress()
    events = [Event(0, NOW, EventKind.PLAN, {"names": [""] * len(MANY), "warnings": []})]
    events += [
        Event(n, NOW, EventKind.NODE_FINISHED, one.to_json()) for n, one in enumerate(MANY, 1)
    ]
    lines = [line for event in events for line in progress.lines(event)]
    skipped = [line.text for line in lines if "skipped because" in line.text]
    assert len(skipped) == 29 and skipped[0].startswith("2/1442  skipped  s0")
    assert lines[-1].text.startswith(f"{len(MANY)}/{len(MANY)}  error    f28")


def test_what_went_wrong_has_the_level_of_an_error_and_what_warns_of_a_warning() -> None:
    progress = report.Progress()
    warn = NodeResult("test.m.w", "w", "test", "warn", 0.1, 2, "Got 2 results")

    def levels(kind: EventKind, data: dict[str, object]) -> list[int]:
        return [line.level for line in progress.lines(Event(1, NOW, kind, data))]

    assert levels(EventKind.NODE_FINISHED, BAD.to_json()) == [logging.ERROR]
    assert levels(EventKind.NODE_FINISHED, warn.to_json()) == [logging.WARNING]
    assert levels(EventKind.NODE_FINISHED, OK.to_json()) == [logging.INFO]
    assert levels(EventKind.LOG, {"level": "error", "text": "x"}) == [logging.ERROR]
    assert levels(EventKind.LOG, {"level": "warn", "text": "x"}) == [logging.WARNING]
    assert levels(EventKind.STATE, {"state": "Error", "detail": "x"}) == [logging.ERROR]
    assert levels(EventKind.STATE, {"state": "Running"}) == [logging.INFO]
    ending = {line.text: line.level for line in report.ending(a_run(BAD, OK, LEFT))}
    assert ending[report.headline(a_run(BAD, OK, LEFT))] == logging.ERROR
    assert set(ending.values()) == {logging.INFO, logging.WARNING, logging.ERROR}


def test_counts_are_dbts() -> None:
    seed = NodeResult("seed.m.s", "s", "seed", "success", materialized="seed")
    table = NodeResult("model.m.t", "t", "model", "success", materialized="table")
    inside = NodeResult("model.m.e", "e", "model", "success", materialized="ephemeral")
    hook = NodeResult("operation.m.h", "h", "operation", "success", materialized="view")
    run = a_run(seed, table, table, inside, hook, state=RunState.SUCCESS)
    told = "4 nodes (1 project hook, 1 seed, 2 table models): 4 success, at 3f2c1ab"
    assert told in report.headline(run)
    nodes = [
        PlannedNode(one.node, one.name, one.type, one.materialized).to_json()
        for one in (seed, table, inside)
    ]
    progress = report.Progress()
    planned = {"names": [""] * 3, "warnings": [], "nodes": nodes, "counted": 2, "hooks": 2}
    (line,) = progress.lines(Event(1, NOW, EventKind.PLAN, planned))
    assert line.text == (
        "Plan: 2 nodes (1 seed, 1 table model), with 1 ephemeral model inside them and "
        "2 project hooks"
    )
    lines = [
        line.text
        for one in (hook, seed, inside, table)
        for line in progress.lines(Event(1, NOW, EventKind.NODE_FINISHED, one.to_json()))
    ]
    assert [one.split()[0] for one in lines] == ["0/2", "1/2", "2/2"]
    assert not any("  e  " in one for one in (*lines, *report.summary(run)))
    assert [one["node"] for one in report.rows(run.nodes)] == ["s", "t", "t", "h"]


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


def test_a_late_daily_build_says_how_late() -> None:
    line = report.headline(a_run(OK, state=RunState.SUCCESS, late=7860))
    assert "the build of 2026-11-23, 2 h 11 min late" in line
    assert '3f2c1ab "Add refunds"' in line


def test_progress_counts_nodes_but_not_hooks() -> None:
    progress = report.Progress()
    events = [
        Event(1, NOW, EventKind.PLAN, {"names": ["dim", "fct_orders"], "warnings": ["look out"]}),
        Event(2, NOW, EventKind.NODE_FINISHED, OK.to_json()),
        Event(
            3, NOW, EventKind.NODE_FINISHED, OK.to_json() | {"type": "operation", "name": "hook"}
        ),
        Event(4, NOW, EventKind.NODE_FINISHED, BAD.to_json()),
    ]
    lines = [line.text for event in events for line in progress.lines(event)]
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
        operation=Operation.RERUN_FAILED,
        commit="9a8b7c6aaaa",
        caller="alice",
        follows=root.id,
        asked_at=asked,
        finished_at=asked,
    )
    still = replace(rerun, state=RunState.ERROR, caller="bob", nodes=(BAD,))
    going_on = replace(rerun, state=RunState.RUNNING, finished_at=None)
    stopped = replace(rerun, state=RunState.CANCELLED, detail="Cancelled by lee with mage-dbt.")
    runs = [
        (run, [node.name for node in run.failed]) for run in (root, still, stopped, rerun, going_on)
    ]
    assert [one.text for one in report.story(runs, seoul)] == [
        "08:00 KST daily build of 2026-11-23 on 3f2c1ab failed at 08:04 KST (fct_orders)",
        "08:31 KST rerun by bob on 9a8b7c6 failed at 08:31 KST (fct_orders) "
        "(run 20261122-233100-1b2c3d)",
        "08:31 KST rerun by alice on 9a8b7c6 was cancelled at 08:31 KST by lee with mage-dbt "
        "(run 20261122-233100-1b2c3d)",
        "08:31 KST fixed by alice with 9a8b7c6 (run 20261122-233100-1b2c3d)",
        "08:31 KST rerun by alice on 9a8b7c6 is Running (run 20261122-233100-1b2c3d)",
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
    assert list(report.plan_lines(plan)) == [
        "Warning: look out",
        "Note: fct_order was renamed to fct_orders.",
        "Would wait: dim, held by run 1",
        "Other at aaaaaaa than at bbbbbbb, the newest: dim.",
        "Only at bbbbbbb, the newest: new.",
        "It takes about 1 min (1 of 1 nodes have run before).",
    ]


def test_the_disk_that_former_relations_hold_is_shown() -> None:
    def kept(until: datetime, size: int) -> Kept:
        return Kept("r", "model.m.a", "s.a", "mage_dbt_old_r", "table", NOW, until, size)

    later = NOW.replace(day=30)
    clock = Clock(ZoneInfo("UTC"))
    two = Survey("3f2c1ab", NOW, kept=(kept(later, 1_200_000_000), kept(NOW, 34_000_000)))
    assert list(report.survey_lines(two, clock)) == [
        "kept      2 former relations for undo_refresh, 1.2 GB; the daily build drops the first "
        f"after {clock.say_in_full(NOW)}"
    ]
    assert list(report.survey_lines(Survey("3f2c1ab", NOW), clock)) == []
