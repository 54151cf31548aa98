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

from mage_dbt.errors import LedgerUnreachable
from mage_dbt.launcher.database_roles import WORKSPACE
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.runner.queue import dispatcher, leases
from mage_dbt.runner.queue.entries import Entry, take_turns
from tests.harness.database import Database
from tests.harness.queue import Owner, Queues, Waiter, a_run
from tests.harness.waiting import SECONDS, wait_for_time, wait_until

FCT = '"warehouse"."analytics"."fct_orders"'


@pytest.fixture
def queues(server: Database, postgres: Postgres, tmp_path: Path) -> Iterator[Queues]:
    made = Queues(server, tmp_path)
    yield made
    made.close()
    made.ask("delete from queue.entry")


def test_runs_that_share_nothing_run_side_by_side(queues: Queues) -> None:
    queue = queues.open()
    assert Waiter(queue, "one", ("a",)).has_turn()
    assert Waiter(queue, "two", ("b",)).has_turn()


def test_an_uncontended_run_does_not_wait_for_a_poll(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 600.0)
    queue = queues.open()
    assert Waiter(queue, "one", ("a",)).has_turn()
    second = Waiter(queue, "two", ("a",))
    second.waits("waiting for a")
    queue.done("one")
    assert second.has_turn()


def test_the_second_says_for_which_relation_and_whom_it_waits(queues: Queues) -> None:
    queue = queues.open(DAILY_BUILD_TIMEZONE="Asia/Kathmandu")
    morning = a_run("morning", "Mage, trigger x", morning="2026-11-23", cause="schedule")
    assert Waiter(queue, morning, (FCT,)).has_turn()
    second = Waiter(queue, "two", (FCT, "b"))
    said = second.waits("waiting for")
    assert re.fullmatch(
        r"waiting for fct_orders, held by daily build since \d\d:\d\d \+0545, "
        r"started by schedule",
        said,
    )
    [(at,)] = queues.ask(
        "select to_char(began_at at time zone 'Asia/Kathmandu', 'HH24:MI') from queue.entry"
        " where run = 'morning'"
    )
    assert f"since {at} +0545," in said
    assert queue.would_wait([FCT], []) == [
        said,
        "waiting for fct_orders, asked for earlier by build two (alice)",
    ]
    assert queue.would_wait(["b"], []) == ["waiting for b, asked for earlier by build two (alice)"]
    assert queue.would_wait(["c"], []) == []
    queue.done("morning")
    assert second.has_turn()
    assert "held by build two since" in queue.would_wait([], ["b"])[0]
    assert queue.would_wait([], ["b"])[0].endswith("started by alice")


def test_readers_share_and_a_writer_waits_for_them_and_they_for_a_writer(queues: Queues) -> None:
    queue = queues.open(RUNNER_PARALLEL_RUNS="10")
    assert Waiter(queue, "test one", ("x",), (FCT,)).has_turn()
    assert Waiter(queue, "test two", (), (FCT,)).has_turn()
    writer = Waiter(queue, "writer", (FCT,))
    writer.waits("held by build test one")
    late = Waiter(queue, "test late", (), (FCT,))
    late.waits("asked for earlier by build writer (alice)")
    queue.done("test one")
    writer.waits("held by build test two")
    queue.done("test two")
    assert writer.has_turn()
    late.waits("held by build writer")
    queue.done("writer")
    assert late.has_turn()


def test_a_late_comer_overtakes_only_those_it_shares_nothing_with(queues: Queues) -> None:
    queue = queues.open()
    assert Waiter(queue, "one", ("a",)).has_turn()
    second = Waiter(queue, "two", ("a", "b"))
    second.waits("held by build one")
    third = Waiter(queue, "three", ("b",))
    third.waits("waiting for b, asked for earlier by build two")
    assert Waiter(queue, "four", ("c",)).has_turn()
    queue.done("one")
    assert second.has_turn()
    third.waits("held by build two")
    queue.done("two")
    assert third.has_turn()


def test_no_more_than_the_allowed_number_of_one_runner_run_at_once(queues: Queues) -> None:
    queue = queues.open(RUNNER_PARALLEL_RUNS="1")
    assert Waiter(queue, "one", ("a",)).has_turn()
    second = Waiter(queue, "two", ("b",))
    second.waits("RUNNER_PARALLEL_RUNS")
    other = queues.open("two", RUNNER_PARALLEL_RUNS="1")
    assert Waiter(other, "three", ("c",)).has_turn()
    queue.done("one")
    assert second.has_turn()


def test_giving_up_ends_the_wait_without_a_turn(queues: Queues) -> None:
    queue = queues.open()
    assert Waiter(queue, "one", ("a",)).has_turn()
    second = Waiter(queue, "two", ("a",))
    second.waits("held by")
    queue.withdraw("two")
    second.join(SECONDS)
    assert second.turn is False
    queue.done("two")
    queue.done("one")
    wait_until("both to be gone", lambda: not queues.ask("select run from queue.entry") or "no")


def test_two_runners_wait_for_each_others_runs(queues: Queues) -> None:
    one, two = queues.open("one"), queues.open("two")
    assert Waiter(one, "one", ("a",)).has_turn()
    second = Waiter(two, "two", ("a",))
    second.waits("waiting for a, held by build one")
    one.done("one")
    assert second.has_turn()


def test_another_runners_change_gives_a_turn_without_a_poll(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 600.0)
    one, two = queues.open("one"), queues.open("two")
    assert Waiter(one, "one", ("a",)).has_turn()
    second = Waiter(two, "two", ("a",))
    second.waits("held by build one")
    third = Waiter(one, "three", ("a",))
    third.waits("held by build one")
    one.done("one")
    assert second.has_turn()
    third.waits("held by build two")
    two.done("two")
    assert third.has_turn()


def test_an_entry_that_goes_while_a_runner_looks_is_not_overlooked(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = queues.open("one"), queues.open("two")
    assert Waiter(one, "one", ("a",)).has_turn()
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 0.5)
    gone: list[str] = []

    def take_turns_late(entries: list[Entry], *more: Any) -> Any:
        """The entry of the other runner goes between this runner's look and what comes of it."""
        if not gone and {entry.run for entry in entries} == {"one", "two"}:
            queues.ask("delete from queue.entry where run = 'one'")
            gone.append("one")
        return take_turns(entries, *more)

    monkeypatch.setattr(dispatcher, "take_turns", take_turns_late)
    second = Waiter(two, "two", ("a",))
    assert second.has_turn() and gone


def test_a_turn_whose_notification_is_lost_comes_with_the_next_poll(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 1.0)
    one, two = queues.open("one"), queues.open("two")
    assert Waiter(one, "one", ("a",)).has_turn()
    second = Waiter(two, "two", ("a",))
    second.waits("held by build one")
    queues.ask("alter table queue.entry disable trigger notify_change")
    try:
        one.done("one")
        assert second.has_turn()
    finally:
        queues.ask("alter table queue.entry enable trigger notify_change")


def test_a_run_goes_back_into_the_queue_with_other_relations(queues: Queues) -> None:
    queue = queues.open()
    assert Waiter(queue, "one", ("a",)).has_turn()
    assert Waiter(queue, "one", ("b",)).has_turn()
    assert Waiter(queue, "two", ("a",)).has_turn()
    third = Waiter(queue, "three", ("b",))
    third.waits("held by build one")


def test_a_lost_connection_loses_neither_turn_nor_entry_and_its_leases_come_back(
    queues: Queues,
) -> None:
    queue = queues.open()
    first = Waiter(queue, "one", ("a",))
    assert first.has_turn()
    second = Waiter(queue, "two", ("a",))
    second.waits("held by")
    queues.as_superuser(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'mage-dbt %'"
    )

    def locks_are_back() -> bool | str:
        found = queues.ask(
            "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2"
            " and objid::bigint in (select lease from queue.entry where run = 'one'"
            "    union select runner from queue.entry)"
        )
        return found == [(2,)] or f"{found}"

    wait_until("both locks to be there again", locks_are_back)
    # The runner learns that it has its lease after PostgreSQL has given it.
    wait_until("the lease to be told", lambda: len(first.descriptors) == 2 or "once")
    assert queues.lost == []
    assert second.turn is None
    queue.done("one")
    assert second.has_turn()


def test_a_runner_whose_run_was_taken_over_learns_of_it(queues: Queues) -> None:
    queue = queues.open()
    first = Waiter(queue, "one", ("a",))
    assert first.has_turn()
    queues.ask("update queue.entry set runner = 1 where run = 'one'")
    queues.as_superuser(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'mage-dbt queue'"
    )
    wait_until("it to be told", lambda: queues.lost == ["one"] or f"{queues.lost}")
    assert not queue.wait(a_run("one"), ["b"], [], print, print)
    queue.done("one")
    assert queues.ask("select run, runner from queue.entry") == [("one", 1)]


def test_a_run_that_is_taken_over_before_it_has_its_lease_waits_no_longer(
    queues: Queues, server: Database
) -> None:
    queue = queues.open()
    assert queue.claim("one")
    with server.connect("ledger", WORKSPACE) as other:
        other.execute(
            "select pg_advisory_lock(%s, lease) from queue.entry where run = 'one'", [leases.RUN]
        )
        first = Waiter(queue, "one", ("a",))
        begun = "select run from queue.entry where began_at is not null"
        wait_until("its turn", lambda: queues.ask(begun) == [("one",)] or "not yet")
        assert first.turn is None, "its lease is somebody else's"
        queues.ask("update queue.entry set runner = 1 where run = 'one'")
        queues.as_superuser(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'mage-dbt queue'"
        )
        first.join(SECONDS)
    assert first.turn is False
    wait_until("it to be told", lambda: queues.lost == ["one"] or f"{queues.lost}")


def test_timeouts_of_the_server_do_not_end_what_holds_the_locks(queues: Queues) -> None:
    queues.as_superuser(
        "alter role runner set idle_session_timeout = '300ms';"
        "alter role runner set idle_in_transaction_session_timeout = '300ms';"
        "alter role runner set statement_timeout = '300ms';"
        "alter role runner set lock_timeout = '1ms'"
    )
    try:
        queue = queues.open()

        def claimed() -> bool | str:
            try:
                return queue.claim("one")
            except LedgerUnreachable as error:  # the server was faster than the session's settings
                return str(error)

        wait_until("the run to be claimed", claimed)
        first = Waiter(queue, "one", ("a",))
        assert first.has_turn()
        before = queues.ask("select runner from queue.entry")
        wait_for_time(time.monotonic() + 1.5)
        assert queues.ask("select runner from queue.entry") == before
        assert len(first.descriptors) == 1
    finally:
        queues.as_superuser("alter role runner reset all")


def test_an_entry_is_kept_until_both_runner_and_worker_are_dead(
    queues: Queues, server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "GRACE_SECONDS", 1.0)
    owner = Owner(server, tmp_path / "theirs")
    queue = queues.open("ours")
    second = Waiter(queue, "two", ("a",))
    second.waits("held by build held")
    assert queue.take_over() == []
    locked = (
        "select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2 and objid ="
        " (select lease from queue.entry where run = 'held')"
    )
    assert queues.ask(locked) == [(1,)]
    stopped = subprocess.run(["kill", "-STOP", str(owner.worker)], check=True)
    assert stopped.returncode == 0
    owner.kill()
    until = time.monotonic() + 2.5

    def still_held() -> bool | str:
        assert queue.take_over() == []
        assert queues.ask(locked) == [(1,)]
        return time.monotonic() > until or "not yet"

    wait_until("more than the grace to pass", still_held)
    killed = time.monotonic()
    subprocess.run(["kill", "-KILL", str(owner.worker)], check=True)

    def taken() -> list[str] | str:
        return queue.take_over() or "not yet"

    assert wait_until("the run to be taken over", taken) == ["held"]
    assert time.monotonic() - killed >= 0.9
    assert second.turn is None, "it is held until its end is written down"
    queue.done("held")
    assert second.has_turn()


def test_a_runner_of_the_same_home_takes_over_at_once(
    queues: Queues, server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "GRACE_SECONDS", 600.0)
    owner = Owner(server, tmp_path / "same")
    subprocess.run(["kill", "-STOP", str(owner.worker)], check=True)
    owner.kill()
    queue = queues.open("same")

    def taken() -> list[str] | str:
        return queue.take_over() or "not yet"

    assert wait_until("the run to be taken over", taken) == ["held"]
    subprocess.run(["kill", "-KILL", str(owner.worker)], check=True)


def test_two_hundred_waiting_runs_cost_next_to_nothing(queues: Queues) -> None:
    queue = queues.open()
    assert Waiter(queue, "first", ("a",)).has_turn()
    waiters = [
        Waiter(queue, f"run {n}", ("a", *(f"m{n}_{i}" for i in range(20)))) for n in range(200)
    ]
    for waiter in waiters:  # each that comes is work for the queue
        waiter.waits("waiting for a")
    began, cpu = time.monotonic(), time.process_time()
    wait_for_time(began + 2)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    assert share < 0.1, f"{share:.0%} of a core"
    for n in range(200):
        queue.withdraw(f"run {n}")
    for waiter in waiters:
        waiter.join(SECONDS)
        assert waiter.turn is False


def test_an_entry_of_another_day_says_the_day() -> None:
    long_ago = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    held = Entry(1, "one", "build x", "tool", "kim", ("a",), (), long_ago, mine=False)
    wish = Entry(2, "two", "build y", "tool", "lee", (), ("a",))
    turns = take_turns([held, wish], 3, UTC)
    assert turns.reasons == {
        "two": "waiting for a, held by build x since 2026-01-02 03:04 UTC, started by kim"
    }


def test_a_run_has_a_title() -> None:
    def title(**fields: Any) -> str:
        return a_run("x", **fields).title

    assert title(request={}) == "build of everything"
    assert title(morning="2026-11-23", request={}) == "daily build"
    assert title(request={"select": ["+a", "b+"]}) == "build +a b+"
    assert title(request={"exclude": ["a"]}) == "build without a"
    assert title(request={"variables": {"size": 4}}).startswith("build everything with other")
    assert title(request={"event_time_start": "2026-01-01"}).startswith("build everything with")
    assert title(operation="command", request={"command": "test -s a"}) == "dbt test -s a"
    assert title(operation="rerun_failed", request={"of": "r"}) == "rerun of r"
    assert len(title(request={"select": ["model"] * 50})) <= 60
