"""Many random runs at once, and a runner killed again and again: the warehouse keeps the score.

The models of `tests/projects/twenty` call `journal.note` before and after they are written, in
transactions of their own; their tests fail when a relation is written while they read it.

    ./scripts/test tests/runner/test_random.py --random-size 200 --random-seed 1
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from mage_dbt.errors import Unavailable
from mage_dbt.launcher import supervisor
from mage_dbt.model.run import Run, RunState
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "twenty"
OWN_POSTGRESQL = True

MODELS = [f"m{n:02}" for n in range(1, 21)]

UNDER_A_VIEW = ("m05", "m09", "m13")
"""dbt drops such a table with its view, so a refresh of it alone would leave the view away."""

REQUESTS = 10
KILLS = 4
"""Without --random-size: what fits beside the other tests."""

CLIENTS = 12
FINAL_SECONDS = 900.0

UNDER_WAY = 5
"""Runs without an end at each kill: some being planned, some waiting, some at work."""

UNENDED = "state not in ('Success', 'Error', 'Cancelled')"
UNPLANNED = "select count(*) from queue.entry where position is null"
WAITING = "select count(*) from queue.entry where position is not null and began_at is null"

JOURNAL = """
create schema journal;
create table journal.entry (
    at timestamptz not null default clock_timestamp(),
    pid integer not null default pg_backend_pid(),
    run text not null default split_part(current_setting('application_name'), ' ', 2),
    what text not null,
    relation text not null
);
create function journal.note(what text, relation text) returns void language sql as
    'insert into journal.entry (what, relation) values ($1, $2)';
create function journal.written(name text) returns boolean language sql volatile as $$
    select exists (
        select from journal.entry as began
        where relation = name and what = 'begin' and pid in (select pid from pg_stat_activity)
            and run <> split_part(current_setting('application_name'), ' ', 2)
            and not exists (
                select from journal.entry as ended
                where ended.run = began.run and ended.relation = name and what = 'end'
            )
    )
$$;
create function journal.disturbed(name text) returns boolean language plpgsql volatile as $$
declare
    before boolean := journal.written(name);
begin
    perform pg_sleep(0.1);
    return before or journal.written(name);
end
$$;
"""

COLLISIONS = """
with written as (
    select run, relation, min(at) filter (where what = 'begin') as began,
        max(at) filter (where what = 'end') as ended
    from journal.entry group by run, relation
)
select one.relation, one.run, other.run from written as one
join written as other on one.relation = other.relation and one.run < other.run
    and one.began < other.ended and other.began < one.ended
"""


class RandomTest:
    def __init__(self, request: pytest.FixtureRequest, default: int) -> None:
        self._capture = request.config.pluginmanager.getplugin("capturemanager")
        self._saying = threading.Lock()
        self.size = request.config.getoption("--random-size") or default
        seed = request.config.getoption("--random-seed")
        self.seed = secrets.randbelow(10**6) if seed is None else seed
        self.chance = random.Random(self.seed)
        self.began = time.monotonic()
        self.say(f"random test: size {self.size}, --random-seed {self.seed}")

    def say(self, text: str) -> None:
        """Past pytest's capture: a test of an hour is watched while it goes on."""
        with self._saying, self._capture.global_and_fixture_disabled():
            print(f"\n[{time.monotonic() - self.began:.0f} s] {text}", end="", flush=True)

    def request(self) -> dict[str, Any]:
        chance = self.chance
        model = chance.choice(MODELS)
        kind = chance.random()
        if kind < 0.1:
            return {"operation": "build"}
        if kind < 0.3:
            return {"operation": "command", "command": f"test --select {model}+"}
        if kind < 0.55:
            after = "+" if model in UNDER_A_VIEW else chance.choice(["", "+"])
            return {"operation": "full_refresh", "select": model + after}
        before, after = chance.choice(["", "+"]), chance.choice(["", "+"])
        return {"operation": "build", "select": before + model + after}


@pytest.fixture(scope="module")
def built(runner: Runner) -> Runner:
    """Everything built once, so that every test finds its table."""
    runner.query(JOURNAL)
    run = runner.run()
    assert run.state is RunState.SUCCESS, run.detail
    return runner


def left_behind(runner: Runner) -> dict[str, Any]:
    """Whatever of the runs is still there: entries, locks, workers, sessions, half-made tables."""
    commands = (" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
    found = {
        "entries": runner.rows("ledger", "select run from queue.entry"),
        "locks": runner.rows(
            "ledger", "select classid, objid from pg_locks where locktype = 'advisory' offset 1"
        ),
        "workers": [
            one
            for one in commands
            if "mage_dbt.dbt.process run" in one and str(runner.home.runs) in one
        ],
        "sessions": runner.query(
            "select application_name, state, query from pg_stat_activity"
            " where application_name like 'mage-dbt 2%'",
        ),
    }
    return {name: what for name, what in found.items() if what}


def wait_until_nothing_is_left(runner: Runner) -> None:
    wait_until(
        "nothing to be left behind",
        lambda: (lambda left: not left or str(left))(left_behind(runner)),
    )


def one_final_state_each(runner: Runner) -> None:
    wrong = runner.rows(
        "ledger",
        "select run.id, count(event.seq) from ledger.run left join ledger.event"
        " on event.run = run.id and kind = 'state'"
        " and data ->> 'state' in ('Success', 'Error', 'Cancelled')"
        " group by run.id having count(event.seq) <> 1",
    )
    assert wrong == []


@pytest.mark.timeout(4 * 3600)
def test_random_overlapping_requests_never_collide_and_all_end_well(
    built: Runner, request: pytest.FixtureRequest
) -> None:
    runner, test = built, RandomTest(request, REQUESTS)
    wishes = [test.request() for _ in range(test.size)]
    done = 0
    counting = threading.Lock()

    def execute(wish: dict[str, Any]) -> Run:
        nonlocal done
        run = runner.over(runner.ask(**wish), FINAL_SECONDS)
        with counting:
            done += 1
            if done % 10 == 0:
                test.say(f"{done} of {test.size} runs are over")
        return run

    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = list(pool.map(execute, wishes))
    bad = [(run.id, run.title, run.detail) for run in runs if run.state is not RunState.SUCCESS]
    assert bad == []
    assert len({run.id for run in runs}) == test.size
    assert runner.query(COLLISIONS) == []
    one_final_state_each(runner)
    wait_until_nothing_is_left(runner)
    unfinished = runner.query(
        "select relname from pg_class where relname ~ '__dbt_(backup|tmp)'",
    )
    assert unfinished == []
    log = (runner.home.logs / "postgres.log").read_text(errors="replace")
    assert "deadlock detected" not in log
    [(written, waited)] = runner.rows(
        "ledger",
        "select (select count(distinct run) from ledger.node_result),"
        " (select count(distinct run) from ledger.event where kind = 'state'"
        "  and data ->> 'detail' like 'waiting for %')",
    )
    test.say(f"{test.size} runs, all Success; {written} with nodes, {waited} had to wait")


def kill(runner: Runner, with_subreaper: bool) -> None:
    """kill -9 of the runner, and of its subreaper too where asked."""
    words = "mage_dbt.server"
    mine = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or ())
        if words in command and str(runner.home.root) in str(process.info["environ"]):
            mine.append((process.pid, "mage_dbt.launcher.subreaper" in command))
    for pid, is_subreaper in sorted(mine, key=lambda process: not process[1]):
        if with_subreaper or not is_subreaper:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def after(until: float) -> Callable[[], bool | str]:
    return lambda: time.monotonic() > until or "not yet"


def patiently(call: Callable[[], Run], runner: Runner) -> Run:
    def probe() -> Run | str:
        try:
            return call()
        except Unavailable as error:
            return str(error)

    return wait_until("the runner to answer", probe)


@pytest.mark.timeout(4 * 3600)
def test_a_runner_killed_at_random_moments_loses_and_doubles_nothing(
    built: Runner, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 0.5)
    runner, test = built, RandomTest(request, KILLS)
    chance = test.chance
    accepted: dict[str, set[str]] = {}
    wishes: dict[str, dict[str, Any]] = {}
    asked: list[Future[Run]] = []

    def ask(key: str) -> Run:
        run = patiently(lambda: runner.ask(key=key, **wishes[key]), runner)
        accepted.setdefault(key, set()).add(run.id)
        return run

    def count(states: str) -> int:
        return int(
            runner.rows("ledger", f"select count(*) from ledger.run_now where {states}")[0][0]
        )

    def at_work() -> bool | str:
        if count("state in ('Starting', 'Running')"):
            return True
        # All may have ended between two looks.
        over = all(one.done() for one in asked) and not count(UNENDED)
        return over or "no run is at work"

    hit = dict.fromkeys(("planning", "waiting", "at work"), 0)
    with ThreadPoolExecutor(4) as pool:
        for number in range(test.size):
            lacking = UNDER_WAY - count(UNENDED)
            keys = [f"kill-{test.seed}-{number}-{n}" for n in range(lacking)]
            wishes |= {key: test.request() for key in keys}
            again = chance.choice(list(wishes))
            asked = [pool.submit(ask, key) for key in (*keys, again)]
            if chance.random() < 0.7:  # in the middle of dbt's work; else wherever it strikes
                wait_until("a run to be at work", at_work, 300)
            until = time.monotonic() + chance.uniform(0, 3)
            wait_until("the moment", after(until))
            hit["planning"] += runner.rows("ledger", UNPLANNED)[0][0]
            hit["waiting"] += runner.rows("ledger", WAITING)[0][0]
            hit["at work"] += count("state in ('Starting', 'Running')")
            kill(runner, with_subreaper=chance.random() < 0.2)
            for one in asked:
                one.result()
            if (number + 1) % 5 == 0:
                test.say(f"{number + 1} of {test.size} kills, {len(wishes)} runs; hit {hit}")
        runs = [runner.over(ask(key), FINAL_SECONDS) for key in wishes]
    assert [key for key, found in accepted.items() if len(found) != 1] == []
    states = {state: sum(run.state is state for run in runs) for state in RunState}
    wait_until_nothing_is_left(runner)
    one_final_state_each(runner)
    twice = runner.query(
        "select run, relation, count(*) from journal.entry where what = 'begin'"
        " group by 1, 2 having count(*) > 1",
    )
    assert twice == []
    assert runner.query(COLLISIONS) == []
    test.say(
        f"{test.size} kills, {len(runs)} runs, hit {hit}: "
        + ", ".join(f"{count} {state}" for state, count in states.items() if count)
    )
