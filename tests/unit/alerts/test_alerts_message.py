"""The words of an alert: a few lines, one fact each, and nothing in them that a channel acts on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.alerts import message
from mage_dbt.alerts.last_change import Change
from mage_dbt.alerts.message import one_line
from mage_dbt.model.alert import LONGEST_TITLE
from mage_dbt.model.explanation import Cause as FailureCause
from mage_dbt.model.explanation import (
    ChangedFile,
    Explanation,
    FailedNode,
    FileRole,
    Passed,
    Stale,
)
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.parse_warnings import ParseWarning, ParseWarnings
from mage_dbt.model.refresh import ColumnChange
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import NodeResult, Run, RunState
from mage_dbt.model.survey import ColumnsChanged

SEOUL = ZoneInfo("Asia/Seoul")
BEGAN = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)

NASTY = (
    "**bold** _it_ `code` [here](http://evil.example) <script>alert(1)</script> &lt; @channel "
    "@everyone <!here> <@U123> ![x](http://evil.example/x.png) \u202e\x1b[31m\r\nsecond\x00 line"
)


HEADING = "Database Error in model fct_orders (models/fct_orders.sql)"


def failed_run(**changes: object) -> Run:
    nodes = (
        NodeResult("model.m.stg", "stg", "model", "success"),
        NodeResult(
            "model.m.fct_orders",
            "fct_orders",
            "model",
            "error",
            message=f"{HEADING}\n  division by zero",
        ),
        *(
            NodeResult(f"model.m.r{n}", f"r{n}", "model", "skipped", because="fct_orders")
            for n in range(7)
        ),
    )
    run = Run(
        id="20261122-230000-4f2a9c",
        operation=Operation.BUILD,
        state=RunState.ERROR,
        detail="8 of 9 nodes did not pass: fct_orders.",
        asked_at=BEGAN,
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(minutes=4),
        request=Request(Operation.BUILD),
        commit="3f2c1ab" + "0" * 33,
        commit_subject="Add refunds",
        target="prod",
        dbt_version="1.11",
        cause=Cause.SCHEDULE,
        caller="Mage, trigger Every morning",
        why="",
        mage_run=12,
        follows=None,
        morning="2026-11-23",
        late_seconds=0,
        planned=tuple(one.name for one in nodes),
        nodes=nodes,
    )
    return replace(run, **changes)  # type: ignore[arg-type]


CHANGE = Change("a1b2c3d" + "0" * 33, "Kim", BEGAN - timedelta(hours=15), "Divide by zero")


def test_a_failure_says_what_why_what_else_who_and_the_command() -> None:
    run = failed_run()
    link = "https://mage.example.com/runner/runs/20261122-230000-4f2a9c"
    alert = message.failure(run, run, CHANGE, "fct_orders", link, SEOUL)
    assert alert.title == "Daily build of 2026-11-23 failed: fct_orders"
    assert alert.body.split("\n") == [
        "Failed: fct_orders (1 of 9 nodes), 2026-11-23 08:04 KST",
        "Why: division by zero",
        "Skipped: 7 because of fct_orders: r0, r1, r2 and 4 more",
        'Last changed: fct_orders by Kim, 2026-11-22 17:00 KST, "Divide by zero" (a1b2c3d)',
        f"Rerun: ./scripts/mage-dbt run rerun_failed --of {run.id}  {link}",
    ]


PASSED_AT = BEGAN - timedelta(hours=24)

CHANGED = ChangedFile(
    "models/fct_orders.sql",
    FileRole.MODEL,
    "9f31c2e" + "0" * 33,
    "Kim",
    CHANGE.at,
    "Rename it",
    "@@",
)


def explanation(**of_cause: object) -> Explanation:
    stale = (
        Stale("model.m.fct_orders", "fct_orders", PASSED_AT, ("Board dashboard",)),
        Stale("model.m.r0", "r0", PASSED_AT + timedelta(minutes=2)),
        Stale("model.m.r1", "r1", None),
    )
    cause = FailureCause(
        failure_class=FailureClass.CODE,
        sqlstate="42703",
        title="column orders.discount_codes does not exist",
        signature="abc",
        nodes=(),
        passed=Passed("20261121-230000-4f2a9c", "41be0d7" + "0" * 33, PASSED_AT),
        changes=(CHANGED, CHANGED),
        stale=stale,
    )
    return Explanation(
        run="20261122-230000-4f2a9c",
        causes=(replace(cause, **of_cause), cause),  # type: ignore[arg-type]
        left=8,
        whole_at=BEGAN + timedelta(minutes=31),
        over_by=BEGAN + timedelta(hours=1),
    )


def test_an_explained_failure_says_its_kind_what_changed_what_is_stale_and_when_it_is_whole() -> (
    None
):
    run = failed_run()
    alert = message.failure(run, run, CHANGE, "fct_orders", "", SEOUL, why=explanation())
    assert alert.title == "Daily build of 2026-11-23 failed: fct_orders"
    assert alert.body.split("\n") == [
        "Failed: fct_orders (1 of 9 nodes), 2026-11-23 08:04 KST",
        "Why: code: column orders.discount_codes does not exist; and 1 more cause",
        "Skipped: 7 because of fct_orders: r0, r1, r2 and 4 more",
        "Changed since it last passed (2026-11-22 08:00 KST, 41be0d7): models/fct_orders.sql by "
        'Kim, 2026-11-22 17:00 KST, "Rename it" (9f31c2e) and 1 more file',
        "Stale: 2 tables are as of 2026-11-22 08:00 KST; read by Board dashboard",
        "Rerun now it would be whole at 08:31 KST, before 09:00 KST",
        f"Rerun: ./scripts/mage-dbt run rerun_failed --of {run.id}",
    ]


def test_no_change_of_code_is_said_and_what_nothing_tells_is_gits_last_change() -> None:
    run = failed_run()

    def line(**of_cause: object) -> str:
        why = explanation(changes=(), **of_cause)
        return message.failure(run, run, CHANGE, "x", "", SEOUL, why=why).body.split("\n")[3]

    assert line(changes_note="same commit").startswith("No code changed since it last passed (2026")
    assert line(changes_note="no code changed").endswith("08:00 KST, 41be0d7)")
    for nothing in (line(changes_note="unknown: git is away"), line(passed=None)):
        assert nothing.startswith("Last changed: x by Kim, ")


def test_a_row_that_a_constraint_quotes_does_not_leave_the_machine() -> None:
    words = 'duplicate key value violates unique constraint "x"'
    node = FailedNode("model.m.x", "x", "model", "", f"{words}\nDETAIL:  Key (email)=(a@b.c)")
    why = explanation(sqlstate="23505", title=f"{words}: Key (email)=(a@b.c)", nodes=(node,))
    text = message.failure(run := failed_run(), run, None, "", "", SEOUL, why=why)
    assert words in text.body and "a@" not in text.body and "b.c" not in text.body


def test_a_run_that_failed_before_its_first_node_says_why() -> None:
    run = failed_run(nodes=(), planned=(), detail='No model "fct_order".', morning=None)
    asked = Request.parse({"select": "fct_order", "caller": "bot", "cause": "api"})
    run = replace(run, cause=Cause.API, caller="bot", request=asked)
    alert = message.failure(run, run, None, "", "", SEOUL)
    assert alert.title == "Build of fct_order by bot failed"
    assert alert.body.split("\n")[:2] == [
        "Failed: before any node ran, 2026-11-23 08:04 KST",
        'Why: No model "fct_order".',
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Build of everything"),
        ({"exclude": "a"}, "Build of everything but some"),
        ({"models": ["fct_orders", "dim_customers"]}, "Build of fct_orders and 1 more"),
        ({"select": "tag:finance+"}, "Build of tag:finance+"),
        ({"operation": "full_refresh", "models": ["facts"]}, "Full refresh of facts"),
        ({"operation": "undo_refresh", "models": ["facts"]}, "Undo of the refresh of facts"),
        ({"operation": "command", "command": "dbt seed"}, "dbt seed"),
    ],
)
def test_a_title_says_what_was_asked_for_and_by_whom(asked: dict[str, Any], words: str) -> None:
    request = Request.parse({"cause": "api", "caller": "bot", **asked})
    run = failed_run(morning=None, request=request, operation=request.operation, caller="bot")
    title = message.failure(run, run, None, "", "", SEOUL).title
    assert title.startswith(f"{words} by bot failed")
    rerun = replace(run, id="20261122-232900-000000")
    title = message.failure(rerun, run, None, "", "", SEOUL).title
    assert title.startswith(f"Rerun of {words[0].lower()}{words[1:]} by bot failed")


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("state", "ended"), [(RunState.ERROR, "failed"), (RunState.CANCELLED, "was cut off")]
)
@pytest.mark.parametrize("letter", ["m", "@a"])
def test_a_title_has_the_state_however_long_the_names_are(
    operation: Operation, state: RunState, ended: str, letter: str
) -> None:
    long = letter * 90
    models = () if operation is Operation.COMMAND else (long, "b", "c", "d")
    asked = Request(operation, models=models, command=long)
    run = failed_run(morning=None, request=asked, operation=operation, caller=long, state=state)
    rerun = replace(run, id="20261122-232900-000000")
    for one in (run, rerun):
        title = message.failure(one, run, None, "", "", SEOUL).title
        assert len(title) <= LONGEST_TITLE
        assert ended in title and " by " in title, title
    assert " by " in message.recovery(rerun, run, "rerun", "Kim", "", SEOUL).title


def test_a_rerun_of_a_rerun_is_called_a_rerun_once() -> None:
    rerun = Request(Operation.RERUN_FAILED, of="20261121-232900-000000")
    root = failed_run(morning=None, request=rerun, operation=rerun.operation, caller="bot")
    again = replace(root, id="20261122-232900-000000")
    titles = {message.failure(run, root, None, "", "", SEOUL).title for run in (root, again)}
    assert titles == {"Rerun of what failed by bot failed: fct_orders"}


def test_a_recovery_says_when_it_failed_when_it_was_fixed_by_whom_and_with_what() -> None:
    failed = failed_run()
    fixed = failed_run(
        id="20261122-232900-000000",
        state=RunState.SUCCESS,
        finished_at=BEGAN + timedelta(minutes=31),
        caller="lee",
        cause="tool",
        why="repaired",
        follows=failed.id,
        morning=None,
    )
    alert = message.recovery(fixed, failed, "rerun", "Kim", "", SEOUL)
    assert alert.title == "Fixed: daily build of 2026-11-23"
    lines = alert.body.split("\n")
    assert lines[0] == "Failed 2026-11-23 08:04 KST, fixed 08:31 KST"
    assert lines[1] == 'By: lee (tool): "repaired"'
    assert lines[2] == 'With: 3f2c1ab "Add refunds" by Kim'
    assert lines[3] == "How: rerun, 1 nodes passed"


def test_the_same_failure_of_another_date_says_when_it_last_had_an_alert() -> None:
    before = failed_run(finished_at=BEGAN - timedelta(hours=24))
    alert = message.failure(failed_run(), failed_run(), CHANGE, "fct_orders", "", SEOUL, before)
    assert alert.body.startswith(
        "Failed: fct_orders (1 of 9 nodes), 2026-11-23 08:04 KST, as 2026-11-22 08:00 KST\n"
    )


def test_what_dbt_warned_of_is_a_line_before_the_last_new_ones_first() -> None:
    old, new = ParseWarning("old @channel"), ParseWarning("a test is dropped")
    found = ParseWarnings.of([old, new]).after(ParseWarnings.of([old]), "9a8b7c6" + "0" * 33)
    run = failed_run(parse_warnings=found)
    for alert in (
        message.failure(run, run, CHANGE, "fct_orders", "", SEOUL),
        message.recovery(run, run, "rerun", "Kim", "", SEOUL),
    ):
        assert alert.body.split("\n")[-2] == (
            "dbt: 2 warnings while parsing, 1 new since 9a8b7c6: New: a test is dropped; "
            "old @\u200bchannel"
        )


def test_titles_fit_a_lock_screen_and_no_message_has_more_than_eight_lines() -> None:
    run = failed_run(
        nodes=(NodeResult("x", "long_" * 60, "model", "error", message=NASTY * 20),),
        caller=NASTY,
        commit_subject=NASTY,
        why=NASTY,
        detail=NASTY,
    )
    change = Change("a" * 40, NASTY, BEGAN, NASTY)
    changed = replace(CHANGED, path=NASTY, author=NASTY, subject=NASTY)
    stale = (Stale("x", NASTY, PASSED_AT, (NASTY, NASTY * 2)),)
    why = explanation(title=NASTY, changes=(changed,), stale=stale)
    for alert in (
        message.failure(run, run, change, NASTY, "https://x", SEOUL, why=why),
        message.failure(run, run, change, NASTY, "https://x", SEOUL),
        message.recovery(run, run, "rerun", NASTY, "https://x", SEOUL),
        message.overdue(date(2026, 11, 23), "09:00 KST", "has not begun", NASTY, "https://x"),
        message.overdue(date(2026, 11, 23), "09:00 KST", "waits", NASTY, "https://x", run.id),
        message.overdue_recovery(run, "2026-11-23", "09:00 KST", "https://x", SEOUL),
        message.commit_broken("a" * 40, NASTY, NASTY, NASTY, "b" * 40),
        message.commit_repaired(["a" * 40], "b" * 40, NASTY, NASTY),
        message.test(NASTY),
    ):
        assert len(alert.title) <= LONGEST_TITLE
        assert len(alert.body.split("\n")) <= 8
        assert max(map(len, alert.body.split("\n"))) < 500
        for text in (alert.title, alert.body):
            for forbidden in (
                "@channel",
                "@everyone",
                "<!here",
                "<script",
                "</script",
                "<@U",
                "\x1b",
                "\x00",
                "\u202e",
            ):
                assert forbidden not in text, text


def test_a_secret_of_the_environment_becomes_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_WAREHOUSE_PASSWORD", "hunter2hunter2")
    text = one_line("postgres://dbt:other@db/x refused hunter2hunter2", 200)
    assert text == "postgres://db/x refused *****"


def test_a_secret_that_is_part_of_a_name_hides_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_DB", "orders")
    failed = NodeResult("model.shop.orders", "orders", "model", "error", message="no orders")
    skipped = NodeResult("model.shop.x", "x_orders", "model", "skipped", because="orders")
    alert = message.failure(
        run := failed_run(nodes=(failed, skipped)), run, None, "orders", "", SEOUL
    )
    lines = alert.body.split("\n")
    assert alert.title.endswith("failed: orders") and lines[0].startswith("Failed: orders (")
    assert lines[1] == "Why: no *****"
    assert lines[2] == "Skipped: 1 because of orders: x_orders"
    assert lines[3].endswith("orders: git does not know")


def test_a_commit_that_does_not_parse_says_why_and_not_only_that() -> None:
    reason = "dbt cannot parse aaaaaaa: 'of' is undefined\n\nCompilation Error in model x (x.sql)"
    alert = message.commit_broken("a" * 40, "Add x", "Kim", reason, "b" * 40)
    assert "Why: dbt cannot parse aaaaaaa: 'of' is undefined" in alert.body.split("\n")


def test_what_was_skipped_is_folded_by_cause() -> None:
    nodes = [
        NodeResult(f"model.m.m{n}", f"m{n}", "model", "skipped", because=f"cause{n % 5}")
        for n in range(1412)
    ]
    run = failed_run(nodes=(*failed_run().nodes[:2], *nodes))
    alert = message.failure(run, run, None, "", "", SEOUL).body.split("\n")[2]
    assert alert.startswith("Skipped: 283 because of cause0: m0, m5, m10 and 280 more; 283 because")
    assert alert.endswith("; and for 2 more causes")


def test_nodes_are_counted_as_dbt_counts_them() -> None:
    nodes = (
        *failed_run().nodes[:2],
        NodeResult("model.m.e", "e", "model", "success", materialized="ephemeral"),
        NodeResult("operation.m.h", "h", "operation", "success"),
    )
    alert = message.failure(run := failed_run(nodes=nodes), run, None, "", "", SEOUL)
    assert "Failed: fct_orders (1 of 3 nodes)" in alert.body


def test_changed_columns_are_news_with_the_command_of_a_refresh() -> None:
    columns = (ColumnChange("discount", "", "numeric"),)
    models = [
        ColumnsChanged(f"model.m.m{n}", f"m{n}", f"a.m{n}", "ignore", columns) for n in range(7)
    ]
    text = message.columns_changed(models, "3f2c1ab9999", "Add @channel", "Kim")
    assert text.kind == "news" and text.title == "Columns changed at 3f2c1ab: m0 and 6 more"
    lines = text.body.splitlines()
    assert lines[0] == 'With: 3f2c1ab "Add @\u200bchannel" by Kim'
    assert lines[1:3] == [
        "m0: 1 column in the model is not in the table (discount); on_schema_change ignores it.",
        "Refresh: ./scripts/mage-dbt run full_refresh --model m0",
    ]
    assert lines[-1] == "And 2 more: ./scripts/mage-dbt status"
