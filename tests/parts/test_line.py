"""Runs that share a relation go one after the other, whichever runner carries them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.runner import line as line_module
from mage_dbt.runner.places import Place, take_turns
from mage_dbt.workspace.postgres import Postgres
from tests.harness.database import Database
from tests.harness.queue import WAIT, Holder, Queue, Waiter, a_run
from tests.harness.waiting import wait_until

FCT = '"warehouse"."analytics"."fct_orders"'


@pytest.fixture
def lines(server: Database, postgres: Postgres, tmp_path: Path) -> Iterator[Queue]:
    made = Queue(server, tmp_path)
    yield made
    made.close()
    made.ask("delete from line.place")


def test_runs_that_share_nothing_run_side_by_side(lines: Queue) -> None:
    line = lines.open()
    assert Waiter(line, "one", ("a",)).has_turn()
    assert Waiter(line, "two", ("b",)).has_turn()


def test_an_uncontended_run_does_not_wait_for_a_look(
    lines: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "LOOK_SECONDS", 30.0)
    line = lines.open()
    assert Waiter(line, "one", ("a",)).has_turn()
    second = Waiter(line, "two", ("a",))
    second.waits("waiting for a")
    line.leave("one")
    assert second.has_turn()


def test_the_second_says_for_which_relation_and_whom_it_waits(lines: Queue) -> None:
    line = lines.open(DAILY_BUILD_TIMEZONE="Asia/Kathmandu")
    morning = a_run("morning", "Mage, trigger x", morning="2026-11-23", cause="schedule")
    assert Waiter(line, morning, (FCT,)).has_turn()
    second = Waiter(line, "two", (FCT, "b"))
    said = second.waits("waiting for")
    assert re.fullmatch(
        r"waiting for fct_orders, held by daily_full_build since \d\d:\d\d \+0545, "
        r"started by schedule",
        said,
    )
    [(at,)] = lines.ask(
        "select to_char(began_at at time zone 'Asia/Kathmandu', 'HH24:MI') from line.place"
        " where run = 'morning'"
    )
    assert f"since {at} +0545," in said
    assert line.would_wait([FCT], []) == [
        said,
        "waiting for fct_orders, asked for earlier by build two (alice)",
    ]
    assert line.would_wait(["b"], []) == ["waiting for b, asked for earlier by build two (alice)"]
    assert line.would_wait(["c"], []) == []
    line.leave("morning")
    assert second.has_turn()
    assert "held by build two since" in line.would_wait([], ["b"])[0]
    assert line.would_wait([], ["b"])[0].endswith("started by alice")


def test_readers_share_and_a_writer_waits_for_them_and_they_for_a_writer(lines: Queue) -> None:
    line = lines.open(RUNNER_PARALLEL_RUNS="10")
    assert Waiter(line, "test one", ("x",), (FCT,)).has_turn()
    assert Waiter(line, "test two", (), (FCT,)).has_turn()
    writer = Waiter(line, "writer", (FCT,))
    writer.waits("held by build test one")
    late = Waiter(line, "test late", (), (FCT,))
    late.waits("asked for earlier by build writer (alice)")
    line.leave("test one")
    writer.waits("held by build test two")
    line.leave("test two")
    assert writer.has_turn()
    late.waits("held by build writer")
    line.leave("writer")
    assert late.has_turn()


def test_a_late_comer_overtakes_only_those_it_shares_nothing_with(lines: Queue) -> None:
    line = lines.open()
    assert Waiter(line, "one", ("a",)).has_turn()
    second = Waiter(line, "two", ("a", "b"))
    second.waits("held by build one")
    third = Waiter(line, "three", ("b",))
    third.waits("waiting for b, asked for earlier by build two")
    assert Waiter(line, "four", ("c",)).has_turn()
    line.leave("one")
    assert second.has_turn()
    third.waits("held by build two")
    line.leave("two")
    assert third.has_turn()


def test_no_more_than_the_allowed_number_of_one_runner_run_at_once(lines: Queue) -> None:
    line = lines.open(RUNNER_PARALLEL_RUNS="1")
    assert Waiter(line, "one", ("a",)).has_turn()
    second = Waiter(line, "two", ("b",))
    second.waits("RUNNER_PARALLEL_RUNS")
    other = lines.open("two", RUNNER_PARALLEL_RUNS="1")
    assert Waiter(other, "three", ("c",)).has_turn()
    line.leave("one")
    assert second.has_turn()


def test_giving_up_ends_the_wait_without_a_turn(lines: Queue) -> None:
    line = lines.open()
    assert Waiter(line, "one", ("a",)).has_turn()
    second = Waiter(line, "two", ("a",))
    second.waits("held by")
    line.give_up("two")
    second.join(WAIT)
    assert second.turn is False
    line.leave("two")
    line.leave("one")
    wait_until("both to be gone", lambda: not lines.ask("select run from line.place") or "no", WAIT)


def test_two_runners_wait_for_each_others_runs(lines: Queue) -> None:
    one, two = lines.open("one"), lines.open("two")
    assert Waiter(one, "one", ("a",)).has_turn()
    second = Waiter(two, "two", ("a",))
    second.waits("waiting for a, held by build one")
    one.leave("one")
    assert second.has_turn()


def test_a_run_goes_back_into_the_line_with_other_relations(lines: Queue) -> None:
    line = lines.open()
    assert Waiter(line, "one", ("a",)).has_turn()
    assert Waiter(line, "one", ("b",)).has_turn()
    assert Waiter(line, "two", ("a",)).has_turn()
    third = Waiter(line, "three", ("b",))
    third.waits("held by build one")


def test_a_lost_connection_loses_neither_turn_nor_place_and_its_locks_come_back(
    lines: Queue,
) -> None:
    line = lines.open()
    first = Waiter(line, "one", ("a",))
    assert first.has_turn()
    second = Waiter(line, "two", ("a",))
    second.waits("held by")
    lines.as_superuser(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'mage-dbt %'"
    )

    def locks_are_back() -> bool | str:
        found = lines.ask(
            "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2"
            " and objid::bigint in (select number from line.place where run = 'one'"
            "    union select runner from line.place)"
        )
        return found == [(2,)] or f"{found}"

    wait_until("both locks to be there again", locks_are_back, WAIT)
    assert len(first.descriptors) == 2
    assert lines.lost == []
    assert second.turn is None
    line.leave("one")
    assert second.has_turn()


def test_a_runner_whose_run_was_taken_over_learns_of_it(lines: Queue) -> None:
    line = lines.open()
    first = Waiter(line, "one", ("a",))
    assert first.has_turn()
    lines.ask("update line.place set runner = 1 where run = 'one'")
    lines.as_superuser(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'mage-dbt line'"
    )
    wait_until("it to be told", lambda: lines.lost == ["one"] or f"{lines.lost}", WAIT)
    assert not line.wait(a_run("one"), ["b"], [], print, print)
    line.leave("one")
    assert lines.ask("select run, runner from line.place") == [("one", 1)]


def test_timeouts_of_the_server_do_not_end_what_holds_the_locks(lines: Queue) -> None:
    lines.as_superuser(
        "alter role runner set idle_session_timeout = '300ms';"
        "alter role runner set idle_in_transaction_session_timeout = '300ms';"
        "alter role runner set statement_timeout = '300ms';"
        "alter role runner set lock_timeout = '1ms'"
    )
    try:
        line = lines.open()
        first = Waiter(line, "one", ("a",))
        assert first.has_turn()
        before = lines.ask("select runner from line.place")
        until = time.monotonic() + 1.5
        wait_until("a second to pass", lambda: time.monotonic() > until or "not yet", 5)
        assert lines.ask("select runner from line.place") == before
        assert len(first.descriptors) == 1
    finally:
        lines.as_superuser("alter role runner reset all")


def test_a_place_is_held_until_both_runner_and_worker_are_dead(
    lines: Queue, server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "GRACE_SECONDS", 1.0)
    holder = Holder(server, tmp_path / "theirs")
    line = lines.open("ours")
    second = Waiter(line, "two", ("a",))
    second.waits("held by build held")
    assert line.abandoned() == []
    locked = (
        "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2 and objid ="
        " (select number from line.place where run = 'held')"
    )
    assert lines.ask(locked) == [(1,)]
    stopped = subprocess.run(["kill", "-STOP", str(holder.worker)], check=True)
    assert stopped.returncode == 0
    holder.kill()
    until = time.monotonic() + 2.5

    def still_held() -> bool | str:
        assert line.abandoned() == []
        assert lines.ask(locked) == [(1,)]
        return time.monotonic() > until or "not yet"

    wait_until("more than the grace to pass", still_held, 10)
    subprocess.run(["kill", "-KILL", str(holder.worker)], check=True)
    killed = time.monotonic()

    def taken() -> list[str] | str:
        return line.abandoned() or "not yet"

    assert wait_until("the run to be taken over", taken, WAIT) == ["held"]
    assert time.monotonic() - killed >= 0.9
    assert second.turn is None, "it is held until its end is written down"
    line.leave("held")
    assert second.has_turn()


def test_a_runner_of_the_same_home_takes_over_at_once(
    lines: Queue, server: Database, tmp_path: Path
) -> None:
    holder = Holder(server, tmp_path / "same")
    subprocess.run(["kill", "-STOP", str(holder.worker)], check=True)
    holder.kill()
    line = lines.open("same")

    def taken() -> list[str] | str:
        return line.abandoned() or "not yet"

    assert wait_until("the run to be taken over", taken, 2.0) == ["held"]
    subprocess.run(["kill", "-KILL", str(holder.worker)], check=True)


def test_two_hundred_waiting_runs_cost_next_to_nothing(lines: Queue) -> None:
    line = lines.open()
    assert Waiter(line, "first", ("a",)).has_turn()
    waiters = [
        Waiter(line, f"run {n}", ("a", *(f"m{n}_{i}" for i in range(20)))) for n in range(200)
    ]
    waiters[-1].waits("waiting for a")
    began, cpu = time.monotonic(), time.process_time()
    wait_until("two seconds to pass", lambda: time.monotonic() - began > 2 or "not yet", 5)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    assert share < 0.1, f"{share:.0%} of a core"
    for n in range(200):
        line.give_up(f"run {n}")
    for waiter in waiters:
        waiter.join(WAIT)
        assert waiter.turn is False


def test_a_place_of_another_day_says_the_day() -> None:
    long_ago = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    held = Place(1, "one", "build x", "tool", "kim", ("a",), (), long_ago, mine=False)
    wish = Place(2, "two", "build y", "tool", "lee", (), ("a",))
    turns = take_turns([held, wish], 3, UTC)
    assert turns.reasons == {
        "two": "waiting for a, held by build x since 2026-01-02 03:04 UTC, started by kim"
    }


def test_a_run_has_a_title() -> None:
    def title(**fields: Any) -> str:
        return a_run("x", **fields).title

    assert title(request={}) == "daily_full_build"
    assert title(morning="2026-11-23", request={}) == "daily_full_build"
    assert title(request={"select": ["+a", "b+"]}) == "build +a b+"
    assert title(request={"exclude": ["a"]}) == "build without a"
    assert title(request={"variables": {"size": 4}}).startswith("build everything with other")
    assert title(request={"event_time_start": "2026-01-01"}).startswith("build everything with")
    assert title(operation="command", request={"command": "test -s a"}) == "command test -s a"
    assert title(operation="rerun_failed", request={"of": "r"}) == "rerun_failed of r"
    assert len(title(request={"select": ["model"] * 50})) <= 60
