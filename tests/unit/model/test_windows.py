"""Windows of event time: joined, cut, and what stays unfilled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mage_dbt.errors import RequestError
from mage_dbt.model.command import Command
from mage_dbt.model.request import Request
from mage_dbt.model.windows import Filled, Window, gaps, merged, without


def hours(begin: int, end: int) -> Window:
    return Window(*(datetime(2026, 11, 28, one, tzinfo=UTC) for one in (begin, end)))


def test_windows_that_touch_are_one() -> None:
    assert merged([hours(3, 4), hours(1, 2), hours(2, 3)]) == (hours(1, 4),)
    assert merged([hours(1, 4), hours(2, 3)]) == (hours(1, 4),)
    assert merged([]) == ()


def test_what_is_taken_away_leaves_both_sides() -> None:
    assert without([hours(1, 9)], [hours(3, 4), hours(6, 7)]) == (
        hours(1, 3),
        hours(4, 6),
        hours(7, 9),
    )
    assert without([hours(1, 2)], [hours(0, 5)]) == ()
    assert without([hours(1, 2)], [hours(2, 3)]) == (hours(1, 2),)


def test_a_gap_stays_until_a_later_result_fills_it() -> None:
    first = Filled((hours(1, 3), hours(4, 5)), (hours(3, 4),))
    newest = Filled((hours(5, 6),))
    assert gaps([first, newest]) == (hours(3, 4),)
    assert gaps([first, newest, Filled((hours(3, 4),))]) == ()
    assert gaps([Filled((hours(3, 4),)), first]) == (hours(3, 4),)
    assert Filled.from_json(first.to_json()) == first


def test_a_window_is_told_as_short_as_it_can_be() -> None:
    assert str(hours(3, 4)) == "2026-11-28 03:00 to 04:00"
    day = Window(datetime(2026, 11, 28, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC))
    assert str(day) == "2026-11-28"
    week = Window(day.start, datetime(2026, 12, 5, tzinfo=UTC))
    assert str(week) == "2026-11-28 to 2026-12-04"


START, END = "--event-time-start 2026-01-01", "--event-time-end 2026-02-01T06:00:00"


def test_a_window_is_asked_for_by_request_and_by_command_alike() -> None:
    window = {"event_time_start": "2026-01-01", "event_time_end": "2026-02-01T06:00:00"}
    asked = Request.parse({"select": "views", **window})
    typed = Command.parse(f"build -s views {START} {END}")
    assert asked.dbt_command() == typed
    assert typed.flags == (
        *("--event-time-start", "2026-01-01T00:00:00"),
        *("--event-time-end", "2026-02-01T06:00:00"),
    )
    assert Request.parse(asked.to_json()) == asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"run {START}", "`--event-time-start` is given and `--event-time-end` is not"),
        (f"run {END} --event-time-start=June", "'June' is no time"),
        (f"run {END} --event-time-start 2027-01-01", "is not before"),
        (f"run --full-refresh {START} {END}", "rows of the window alone"),
        (f"test {START} {END}", "'--event-time-start' is not allowed here"),
    ],
)
def test_a_window_that_cannot_be_is_refused(words: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Command.parse(words)


@pytest.mark.parametrize("operation", ["full_refresh", "rerun_failed", "command"])
def test_only_a_build_takes_a_window(operation: str) -> None:
    more = {"select": "a"} if operation == "full_refresh" else {}
    more |= {"command": "run"} if operation == "command" else {}
    window = {"event_time_start": "2026-01-01", "event_time_end": "2026-02-01"}
    with pytest.raises(RequestError, match="[Ww]indow|--event-time-start"):
        Request.parse({"operation": operation, **more, **window})


def test_models_are_named_instead_of_selected() -> None:
    one = Request.parse({"models": "sales sales", "with_downstream": True})
    assert one.models == ("sales",) and one.with_downstream and not one.dbt_command().select
    assert Request.parse(one.to_json()) == one
    for wrong in (
        {"models": "a", "select": "b"},
        {"with_upstream": True, "select": "b"},
        {"models": ["a\n"]},
        {"models": 7},
        {"operation": "rerun_failed", "models": "a"},
    ):
        with pytest.raises(RequestError):
            Request.parse(wrong)


def test_a_run_does_all_of_another_only_with_the_same_variables_and_flags() -> None:
    def asked(command: str, **variables: object) -> Request:
        return Request.parse({"operation": "command", "command": command, "variables": variables})

    build = Request.parse({})
    assert asked("run").does_all_of(build) and build.does_all_of(asked("run"))
    for less in ("compile", "run --empty", f"run {START} {END}"):
        assert not asked(less).does_all_of(build)
    assert not asked("run", day=1).does_all_of(build)
    full = Request.parse({"operation": "full_refresh", "select": "a"})
    assert full.does_all_of(build) and not build.does_all_of(full)
    assert asked("compile").does_all_of(asked("compile"))
    assert asked("run").does_all_of(asked("compile"))
    assert asked(f"run {START} {END}").fills_as(build)
