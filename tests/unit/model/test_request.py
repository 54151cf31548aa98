"""What is asked for is checked where it comes in."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mage_dbt.errors import (
    BadCommand,
    BadCommit,
    BadSelection,
    BadVariable,
    RequestError,
    UnknownOperation,
)
from mage_dbt.model.request import Cause, Operation, Request

REFRESH = {"operation": "full_refresh", "models": "fct_orders"}
UNDO = {"operation": "undo_refresh", "models": "fct_orders"}
WINDOW = {"event_time_start": "2026-01-01", "event_time_end": "2026-02-01"}


def test_a_selection_in_one_text_is_the_same_as_a_list() -> None:
    text = Request.parse({"select": "fct_orders+ dim_customers"})
    words = Request.parse({"select": ["fct_orders+", "dim_customers"]})
    assert text.select == words.select == ("fct_orders+", "dim_customers")


def test_a_request_survives_its_own_json() -> None:
    request = Request.parse(
        {
            "operation": "build",
            "select": "a b",
            "variables": {"days": 7},
            "why": "late data",
            "cause": "tool",
            "caller": "kim",
            "key": "k",
            "mage_run": 12,
        }
    )
    assert Request.parse(request.to_body()) == Request.from_json(request.to_json()) == request
    assert request.operation is Operation.BUILD and request.cause is Cause.TOOL


def test_what_is_left_out_is_everything_also_when_a_client_sends_it() -> None:
    everything = Request.parse({"exclude": []})
    assert everything.is_full_build
    assert Request.parse(everything.to_body()) == everything


def test_a_full_refresh_is_a_build_with_the_flag() -> None:
    command = Request.parse({"operation": "full_refresh", "select": "fct_orders+"}).dbt_command()
    assert command.name == "build" and command.full_refresh
    assert command.select == ("fct_orders+",)


def test_a_date_stays_the_date_that_dbt_reads() -> None:
    given = {"start": date(2026, 1, 31), "dbt_date:time_zone": "UTC"}
    assert Request.parse({"variables": given}).variables == given


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ({"operation": "biuld"}, UnknownOperation, "Did you mean build?"),
        ({"selct": "a"}, RequestError, "Did you mean select?"),
        ({"operation": "full_refresh"}, BadSelection, "needs the models"),
        ({"select": "--full-refresh"}, BadSelection, "--full-refresh"),
        ({"select": ["a b"]}, BadSelection, "a b"),
        ({"select": ["a\n"]}, BadSelection, "not a model name"),
        ({"models": []}, BadSelection, "`models` is empty: it chooses nothing"),
        ({"models": ""}, BadSelection, "`models` is empty"),
        ({"models": " "}, BadSelection, "`models` is empty"),
        ({"select": []}, BadSelection, "`select` is empty: it chooses nothing"),
        ({"select": ""}, BadSelection, "`select` is empty"),
        ({"select": " ", "exclude": "a"}, BadSelection, "`select` is empty"),
        ({"select": [], **WINDOW}, BadSelection, "`select` is empty"),
        ({"select": 7}, RequestError, "a text or a list"),
        ({"select": ["x" * 3000]}, RequestError, "longer than 2000"),
        ({"variables": "days"}, BadVariable, "names with values"),
        ({"variables": {"a b": 1}}, BadVariable, "a b"),
        ({"variables": {"a": object()}}, BadVariable, "a number"),
        ({"variables": {"a": "x" * 30_000}}, BadVariable, "too long"),
        ({"operation": "command", "command": "clean"}, BadCommand, "clean"),
        ({"operation": "command", "command": "build", "select": "a"}, RequestError, "its own"),
        ({"operation": "rerun_failed", "select": "a"}, RequestError, "chooses its models"),
        ({"operation": "build", "of": "20261123-080000-4f2a9c"}, RequestError, "rerun_failed"),
        ({"in_place": True}, RequestError, "Only the operation `full_refresh` takes `in_place`"),
        (
            {"operation": "undo_refresh", "models": "a", "show_first": True},
            RequestError,
            "takes `s",
        ),
        ({**REFRESH, "in_place": True, "show_first": True}, RequestError, "nothing to show first"),
        ({**REFRESH, "override": "row", "why": "x"}, RequestError, "Did you mean rows?"),
        ({**REFRESH, "override": "writes", "why": "x"}, RequestError, "no check that can be"),
        ({**REFRESH, "override": "rows key"}, RequestError, "check rows, key needs a reason"),
        ({**REFRESH, "override": "rows", "why": " "}, RequestError, "needs a reason"),
        ({**REFRESH, "override": "rows", "why": "x", "in_place": True}, RequestError, "nothing"),
        ({"override": "rows", "why": "x"}, RequestError, "Only `full_refresh` and `undo_refresh`"),
        ({**REFRESH, **WINDOW}, RequestError, "Ask for a `build` with the window"),
        ({"operation": "undo_refresh"}, BadSelection, "needs the models"),
        ({"operation": "undo_refresh", "select": "a"}, BadSelection, "`select` and `exclude`"),
        ({**UNDO, "with_downstream": True}, RequestError, "takes no `with_downstream`"),
        ({**UNDO, "variables": {"days": 7}}, RequestError, "takes no `variables`"),
        ({**UNDO, **WINDOW}, RequestError, "takes no window"),
        ({**UNDO, "command": "build"}, RequestError, "Only the operation `command`"),
        ({"why": "x" * 3000}, RequestError, "longer than"),
        ({"why": "a\x00b"}, RequestError, "NUL"),
        ({"why": 3}, RequestError, "`why` is a text"),
        ({"mage_run": "twelve"}, RequestError, "mage_run"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    data: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        Request.parse(data)
    assert says in str(caught.value)


def test_a_rerun_without_a_run_means_the_last_daily_build() -> None:
    assert Request.parse({"operation": "rerun_failed"}).of is None


@pytest.mark.parametrize("commit", ["-x", "a b", "main..x", "HEAD~1", "x^{}", "ä", ".x", "x/"])
def test_a_commit_is_a_sha_or_a_tag(commit: str) -> None:
    with pytest.raises(BadCommit):
        Request.parse({"commit": commit})


def test_only_a_rerun_takes_the_commit_of_the_run_before() -> None:
    assert Request.parse({"operation": "rerun_failed", "commit": "same"}).commit == "same"
    with pytest.raises(RequestError):
        Request.parse({"commit": "same"})


def test_what_is_asked_for_is_compared_without_who_asks() -> None:
    one = Request.parse({"select": "a", "caller": "x"})
    assert one.what() == Request.parse({"select": ["a"], "caller": "y"}).what()
    assert one.what() != Request.parse({"select": "b"}).what()


def test_how_a_refresh_is_done_is_part_of_what_is_asked_for() -> None:
    plain = Request.parse(REFRESH)
    others = [
        Request.parse({**REFRESH, **how})
        for how in (
            {"in_place": True},
            {"show_first": True},
            {"override": ["rows", "key", "rows"], "why": "late data"},
            {"operation": "undo_refresh"},
        )
    ]
    for other in others:
        assert not other.same_work(plain) and other.what() != plain.what()
        assert Request.parse(other.to_json()) == other == Request.from_json(other.to_json())
    assert others[2].override == ("rows", "key")
    assert plain.same_work(Request.parse({**REFRESH, "why": "another reason"}))


def test_a_request_of_before_there_was_a_choice_is_read() -> None:
    data = Request.parse(REFRESH).to_json()
    for name in ("in_place", "show_first", "override"):
        del data[name]
    assert Request.from_json(data) == Request.parse(REFRESH)


def test_an_undo_writes_and_never_did_what_another_request_asks() -> None:
    undo, refresh = Request.parse(UNDO), Request.parse(REFRESH)
    build = Request.parse({"models": "fct_orders"})
    compiled = Request.parse({"operation": "command", "command": "compile"})
    assert undo.dbt_command().writes and not undo.dbt_command().full_refresh
    for other in (undo, refresh, build, compiled):
        assert not undo.does_all_of(other) and not undo.fills_as(other)
        assert not other.does_all_of(undo) and not other.fills_as(undo)
    assert refresh.does_all_of(build) and build.does_all_of(compiled)
