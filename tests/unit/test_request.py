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
from mage_dbt.request import Cause, Operation, Request


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
    assert Request.parse(request.to_json()) == request
    assert request.operation is Operation.BUILD and request.cause is Cause.TOOL


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
        ({"select": 7}, BadSelection, "a text or a list"),
        ({"select": ["x" * 3000]}, BadSelection, "too long"),
        ({"variables": "days"}, BadVariable, "names with values"),
        ({"variables": {"a b": 1}}, BadVariable, "a b"),
        ({"variables": {"a": object()}}, BadVariable, "a number"),
        ({"variables": {"a": "x" * 30_000}}, BadVariable, "too long"),
        ({"operation": "command", "command": "clean"}, BadCommand, "clean"),
        ({"operation": "command", "command": "build", "select": "a"}, RequestError, "its own"),
        ({"operation": "rerun_failed", "select": "a"}, RequestError, "chooses its models"),
        ({"operation": "build", "of": "20261123-080000-4f2a9c"}, RequestError, "rerun_failed"),
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
