"""Refreshes under bad luck: the table stays whole, and nothing is left aside.

    ./scripts/test tests/runner/test_refresh_luck.py --random-size 100 --random-seed 1
    ./scripts/test tests/runner/test_refresh_luck.py -k at_each_step --thorough

The first kills a worker, the runner or PostgreSQL at N random moments of refreshes and undos, the
second each of the three at each step; without the option each step has one victim.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from mage_dbt.errors import Conflict, NothingLeft, RequestError, Unavailable
from mage_dbt.launcher import supervisor
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.model.refresh import Step
from mage_dbt.model.run import Run, RunState
from tests.harness.held_refresh import (
    HOLDS,
    commits_can_wait,
    old_snapshot,
    until_commit_waits,
    until_step,
    worker_of,
)
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "refresh"
OWN_POSTGRESQL = True

ROWS = 2_000
KILLS = 4
"""Without --random-size."""

POSTGRES = str(Path("pginstall") / "bin" / "postgres")

VICTIMS = ("PostgreSQL", "worker", "runner")

USUAL = {"holds": "PostgreSQL"}
"""Whom a step has without --thorough, where it is not the next in turn: the one that goes on."""

STEPS_OF_UNDO = ("waits for a lock", "is inside the swap", "commits", "has committed")

KILLED_AT = [
    *(("full_refresh", step) for step in HOLDS),
    *(("undo_refresh", step) for step in STEPS_OF_UNDO),
]

VIEW = "create schema bi; create view bi.seen as select id, version from analytics.facts"


@pytest.fixture(autouse=True)
def built(runner: Runner) -> Iterator[None]:
    """Each test begins with the rows of version 1, and a view on them; it leaves nothing aside."""
    for schema in aside(runner):
        runner.execute(f"drop schema {schema} cascade")
    runner.execute("drop schema if exists bi cascade; drop schema if exists raw cascade")
    runner.execute("create schema raw")
    runner.execute(f"create table raw.size as select {ROWS} as rows, 1 as version")
    run = runner.run(operation="full_refresh", models="facts", in_place=True)
    assert run.state is RunState.SUCCESS, run.detail
    runner.execute(VIEW)
    yield
    until_nothing_is_aside(runner)


def next_version(runner: Runner, version: int, rows: int = ROWS) -> None:
    runner.execute(f"update raw.size set version = {version}, rows = {rows}")


def refresh(runner: Runner, **more: Any) -> Run:
    return runner.ask(operation="full_refresh", models="facts", **more)


def standing(runner: Runner) -> list[Any]:
    """How many rows of each version there are, in the table and through the view."""
    count = "select version, count(*) from {} group by version order by version"
    table, view = (runner.query(count.format(name)) for name in ("analytics.facts", "bi.seen"))
    assert table == view
    return table


def aside(runner: Runner) -> list[str]:
    rows = runner.query("select nspname from pg_namespace where nspname like 'mage\\_dbt\\_new%'")
    return [name for (name,) in rows]


def until_nothing_is_aside(runner: Runner) -> None:
    wait_until("nothing to be aside", lambda: not aside(runner) or str(aside(runner)))


def test_an_old_snapshot_that_never_ends_refuses_the_swap_and_names_it(runner: Runner) -> None:
    runner.restart_runner(REFRESH_SNAPSHOT_SECONDS="2")
    runner.answering()
    next_version(runner, 2)
    with old_snapshot(runner) as connection:
        run = runner.over(refresh(runner))
        assert run.state is RunState.ERROR and "somebody old" in run.detail, run.detail
        assert standing(runner) == [(1, ROWS)] and aside(runner) == []
        assert connection.execute("select count(*) from analytics.facts").fetchone() == (ROWS,)
    run = runner.over(refresh(runner))
    assert run.state is RunState.SUCCESS, run.detail
    assert standing(runner) == [(2, ROWS)]


def test_an_old_snapshot_may_be_overridden_by_name_and_with_a_reason(runner: Runner) -> None:
    next_version(runner, 2)
    with pytest.raises(RequestError, match="why"):
        refresh(runner, override=["snapshot"])
    with old_snapshot(runner):
        run = runner.over(refresh(runner, override=["snapshot"], why="a backup that hangs"))
    assert run.state is RunState.SUCCESS, run.detail


def test_a_session_that_holds_the_table_is_named_and_never_ended(runner: Runner) -> None:
    runner.restart_runner(REFRESH_LOCK_SECONDS="2")
    runner.answering()
    next_version(runner, 2)
    with psycopg.connect(runner.postgres.url("dbt"), dbname=WAREHOUSE) as holder:
        holder.execute("set application_name = 'somebody slow'")
        holder.execute("select count(*) from bi.seen")
        run = runner.over(refresh(runner))
        assert run.state is RunState.ERROR and "somebody slow" in run.detail, run.detail
        assert holder.execute("select count(*) from bi.seen").fetchone() == (ROWS,)
    assert standing(runner) == [(1, ROWS)] and aside(runner) == []


def test_two_refreshes_of_one_model_run_one_after_the_other(runner: Runner) -> None:
    next_version(runner, 2)
    runs = [refresh(runner), refresh(runner)]
    over = [runner.over(run) for run in runs]
    assert [run.state for run in over] == [RunState.SUCCESS] * 2, [run.detail for run in over]
    first, second = sorted(over, key=lambda run: str(run.started_at))
    assert first.finished_at and second.started_at and first.finished_at <= second.started_at
    assert standing(runner) == [(2, ROWS)]


def test_a_refresh_and_a_build_of_everything_wait_for_each_other(runner: Runner) -> None:
    next_version(runner, 2)
    held = refresh(runner, show_first=True)
    until_step(runner, held, Step.HOLDS)
    build = runner.ask()

    def waits() -> bool | str:
        now = runner.client.run(build.id)
        told = "held by full refresh of facts", "; that run waits for a decision to swap"
        return all(text in now.detail for text in told) or f"{now.state} {now.detail}"

    wait_until("the build to wait for the refresh", waits)
    runner.client.swap(held.id)
    assert runner.over(held).state is RunState.SUCCESS
    built = runner.over(build)
    assert built.state is RunState.SUCCESS, built.detail
    assert standing(runner)[0][0] == 2


def test_of_two_decisions_the_later_is_answered_with_the_earlier(runner: Runner) -> None:
    next_version(runner, 2)
    held = refresh(runner, show_first=True)
    until_step(runner, held, Step.HOLDS)
    with ThreadPoolExecutor(2) as both:
        answers = [both.submit(runner.client.swap, held.id, by) for by in ("ana", "oleg")]
    refused = [str(answer.exception()) for answer in answers if answer.exception()]
    assert len(refused) == 1, refused
    first, second = ("ana", "oleg") if answers[1].exception() else ("oleg", "ana")
    assert isinstance(answers[second == "oleg"].exception(), Conflict)
    assert f"The decision to swap was made before, by the tool: {first}" in refused[0] or (
        f"by {first}" in refused[0]
    ), refused
    run = runner.over(held)
    assert run.swapped
    with pytest.raises(Conflict, match=f"The decision to swap was made before, by .*{first}"):
        runner.client.cancel(held.id, "kim")


def test_a_swap_and_a_cancellation_at_once_leave_no_decision_without_a_trace(
    runner: Runner,
) -> None:
    next_version(runner, 2)
    held = refresh(runner, show_first=True)
    until_step(runner, held, Step.HOLDS)
    with ThreadPoolExecutor(2) as both:
        swap = both.submit(runner.client.swap, held.id, "ana")
        cancel = both.submit(runner.client.cancel, held.id, "oleg")
    run = runner.over(held)
    logged = runner.rows(
        "ledger", "select data ->> 'text' from ledger.event where run = %s and kind = 'log'", run.id
    )
    decisions = " ".join(text for (text,) in logged if text.startswith("Decision by"))
    assert "ana: swap" in decisions or isinstance(swap.exception(), Conflict), decisions
    if run.swapped:
        assert isinstance(cancel.exception(), Conflict) and "ana" in str(cancel.exception())
    else:
        assert "oleg" in run.detail and cancel.exception() is None
        if swap.exception():
            assert "oleg" in str(swap.exception())
    with pytest.raises(Conflict, match="ana" if run.swapped else "oleg"):
        runner.client.swap(held.id, "kim")


def test_a_plan_that_was_seen_runs_and_another_does_not(runner: Runner) -> None:
    from mage_dbt.model.request import Request

    asked = {"operation": "full_refresh", "models": "facts"}
    seen = runner.client.plan(Request.parse(asked)).digest
    run = runner.over(runner.ask(**asked, digest=seen))
    assert run.state is RunState.SUCCESS, run.detail
    seen = runner.client.plan(Request.parse(asked)).digest
    runner.execute("create view bi.more as select id from analytics.facts")
    with pytest.raises(Conflict, match="what depends on them"):
        runner.ask(**asked, digest=seen)


def test_former_tables_go_with_the_build_of_everything_when_their_time_is_over(
    runner: Runner,
) -> None:
    runner.restart_runner(REFRESH_KEEP_DAYS="0")
    runner.answering()
    next_version(runner, 2)
    run = runner.over(refresh(runner))
    assert run.state is RunState.SUCCESS
    schema = f"mage_dbt_old_{run.id.replace('-', '_')}"
    kept = "select nspname from pg_namespace where nspname = %s"
    assert runner.query(kept, schema) == [(schema,)]
    build = runner.run()
    assert build.state is RunState.SUCCESS, build.detail
    assert any(step.step is Step.EXPIRED for step in build.refresh)
    assert runner.query(kept, schema) == []
    runner.restart_runner(REFRESH_KEEP_DAYS="7")
    runner.answering()


@pytest.mark.parametrize("step", [Step.ASIDE, Step.WAITS, Step.HOLDS])
def test_a_refresh_is_cancelled_at_any_step(runner: Runner, step: Step) -> None:
    next_version(runner, 2, rows=200_000)
    with old_snapshot(runner) if step is Step.WAITS else contextlib.nullcontext():
        run = refresh(runner, show_first=True, override=["rows"], why="more of them")
        until_step(runner, run, step)
        runner.client.cancel(run.id, "somebody")
        over = runner.over(run)
        assert over.state is RunState.CANCELLED, over.detail
    assert standing(runner) == [(1, ROWS)]
    until_nothing_is_aside(runner)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each step has all victims with --thorough, else one, in turn."""
    if "victim" not in metafunc.fixturenames:
        return
    thorough = metafunc.config.getoption("--thorough")
    metafunc.parametrize(
        ("operation", "step", "victim"),
        [
            (operation, step, victim)
            for place, (operation, step) in enumerate(KILLED_AT)
            for victim in (
                VICTIMS if thorough else [USUAL.get(step, VICTIMS[place % len(VICTIMS)])]
            )
        ],
    )


def test_a_kill_at_each_step_leaves_the_old_rows_or_the_new_ones(
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    step: str,
    victim: str,
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 1.0)  # it waits longer after each end
    next_version(runner, 2)
    old, new = [(1, ROWS)], [(2, ROWS)]
    if operation == "undo_refresh":
        over = runner.over(refresh(runner))
        assert over.state is RunState.SUCCESS, over.detail
        old, new = new, old

    def ask(**more: Any) -> Run:
        return runner.ask(operation=operation, models="facts", **more)

    with HOLDS[step](runner, ask) as held:
        assert kill(runner, held.run, victim)
        held.let_go()
        if held.stopped and victim == "PostgreSQL":
            held.stopped.resume()
        goes_on = step == "holds" and victim == "PostgreSQL"  # it has no session there meanwhile
        if goes_on:
            runner.client.swap(held.run.id)
        over = runner.over(held.run)
    is_new = goes_on or step in ("commits", "has committed")
    assert standing(runner) == (new if is_new else old), over.detail
    until_nothing_is_aside(runner)
    assert over.swapped == is_new, over.refresh
    assert not goes_on or over.state is RunState.SUCCESS, over.detail
    if over.state is not RunState.SUCCESS:
        assert over.state is RunState.ERROR
        outcome = "was swapped" if is_new else "Nothing has changed"
        assert outcome in over.detail, over.detail
        assert ("undo_refresh" if is_new else "again") in over.detail, over.detail
    next_version(runner, 3)
    after = runner.over(refresh(runner))
    assert after.state is RunState.SUCCESS, after.detail
    assert standing(runner) == [(3, ROWS)]


@pytest.mark.parametrize(
    ("operation", "killed"),
    [("full_refresh", "worker"), ("full_refresh", "runner"), ("undo_refresh", "worker")],
)
def test_a_refresh_whose_process_ended_as_it_had_swapped_keeps_its_results(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, operation: str, killed: str
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 1.0)  # it waits longer after each end
    next_version(runner, 2)
    if operation == "undo_refresh":
        before = runner.over(refresh(runner))
        assert before.state is RunState.SUCCESS, before.detail

    def ask(**more: Any) -> Run:
        return runner.ask(operation=operation, models="facts", **more)

    with HOLDS["has committed"](runner, ask) as held:
        assert kill(runner, held.run, killed)
        over = runner.over(held.run)
    assert over.state is RunState.SUCCESS, over.detail
    assert {node.name for node in over.nodes} == set(over.planned)
    assert all(node.passed for node in over.nodes), over.nodes
    (swapped,) = (step for step in over.refresh if step.step is Step.SWAPPED)
    assert swapped.kept and swapped.until and "all the same" in swapped.text
    logged = "select data ->> 'text' from ledger.event where run = %s and kind = 'log'"
    assert any(
        "ended right after the swap" in text for (text,) in runner.rows("ledger", logged, over.id)
    )
    assert standing(runner) == [(1 if operation == "undo_refresh" else 2, ROWS)]
    with pytest.raises(NothingLeft):
        runner.ask(operation="rerun_failed", of=over.id)


@contextlib.contextmanager
def warehouse_away(runner: Runner) -> Iterator[None]:
    """In this block dbt's role gets no new connection."""
    with runner.connect(SUPERUSER, WAREHOUSE) as connection:
        connection.execute("alter role dbt nologin")
    try:
        yield
    finally:
        with runner.connect(SUPERUSER, WAREHOUSE) as connection:
            connection.execute("alter role dbt login")


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("full_refresh", "killed"),
        ("undo_refresh", "killed"),
        ("full_refresh", "cut off"),
        ("undo_refresh", "cut off"),
    ],
)
def test_a_refresh_that_swapped_keeps_its_results_where_the_first_look_finds_no_warehouse(
    runner: Runner, operation: str, what: str
) -> None:
    """Its process was killed, or lost its connection as it committed and could not ask either."""
    next_version(runner, 2)
    if operation == "undo_refresh":
        before = runner.over(refresh(runner))
        assert before.state is RunState.SUCCESS, before.detail

    def ask(**more: Any) -> Run:
        return runner.ask(operation=operation, models="facts", **more)

    with HOLDS["has committed" if what == "killed" else "commits"](runner, ask) as held:
        with warehouse_away(runner):
            if what == "killed":
                assert kill(runner, held.run, "worker")
            else:
                end_session_of_commit(runner, held.run)
                held.let_go()
            until_a_look_fails(runner, held.run)
        over = runner.over(held.run)
    assert over.state is RunState.SUCCESS, over.detail
    assert {node.name for node in over.nodes} == set(over.planned)
    assert all(node.passed for node in over.nodes), over.nodes
    assert [step.step for step in over.refresh].count(Step.SWAPPED) == 1
    assert standing(runner) == [(1 if operation == "undo_refresh" else 2, ROWS)]


@pytest.mark.parametrize("operation", ["full_refresh", "undo_refresh"])
def test_a_refresh_that_lost_the_warehouse_before_its_commit_says_why_it_did_not_swap(
    runner: Runner, operation: str
) -> None:
    next_version(runner, 2)
    if operation == "undo_refresh":
        before = runner.over(refresh(runner))
        assert before.state is RunState.SUCCESS, before.detail
    old = standing(runner)

    def ask(**more: Any) -> Run:
        return runner.ask(operation=operation, models="facts", **more)

    with HOLDS["is inside the swap"](runner, ask) as held, warehouse_away(runner):
        runner.rows(SUPERUSER, IN_THE_SWAP)
        until_a_look_fails(runner, held.run)
    over = runner.over(held.run)
    assert over.state is RunState.ERROR and not over.swapped
    assert "The warehouse refused" in over.detail and "ended early" not in over.detail, over.detail
    assert "Nothing has changed" in over.detail, over.detail
    (facts,) = (node for node in over.nodes if node.name == "facts")
    assert "The warehouse refused" in facts.message, facts
    assert standing(runner) == old


IN_THE_SWAP = (
    "select pg_terminate_backend(pid, 60000) from pg_locks"
    " where locktype = 'advisory' and objid = 3 and not granted"
)


def end_session_of_commit(runner: Runner, run: Run) -> None:
    """The session of a commit that waits; what it commits is on the disk, and stays."""
    runner.rows(
        SUPERUSER, "select pg_terminate_backend(%s, 60000)", until_commit_waits(runner, run)
    )


def until_a_look_fails(runner: Runner, run: Run) -> None:
    def probe() -> bool | str:
        log = runner.log("runner")
        return f"run {run.id}: Its entry in the queue is kept" in log or log[-2000:]

    wait_until("a look into the warehouse to fail", probe)


def test_a_runner_that_has_lost_its_files_cleans_up_all_the_same(runner: Runner) -> None:
    next_version(runner, 2)
    with HOLDS["holds"](runner, partial(refresh, runner)) as held:
        (worker,) = runner.processes(worker_of(runner, held.run))
        worker.suspend()  # it would clean up itself
        shutil.rmtree(runner.home.runs / held.run.id)
        assert kill(runner, held.run, "runner")
        over = runner.over(held.run)
    assert over.state is RunState.ERROR and "Nothing has changed" in over.detail, over.detail
    assert aside(runner) == [] and standing(runner) == [(1, ROWS)]


def test_a_decision_on_a_refresh_whose_runner_was_killed_is_refused_or_has_its_effect(
    runner: Runner,
) -> None:
    next_version(runner, 2)
    with commits_can_wait(runner) as wait, HOLDS["holds"](runner, partial(refresh, runner)) as held:
        (worker,) = runner.processes(worker_of(runner, held.run))
        worker.suspend()  # it would clean up itself
        let_go = wait()
        assert kill(runner, held.run, "runner")
        until_commit_waits(runner, held.run)  # of who drops what is aside
        assert not runner.client.run(held.run.id).holds
        with pytest.raises(Conflict, match="was stopped, so a decision comes too late"):
            runner.client.swap(held.run.id, "ana")
        with ThreadPoolExecutor(1) as other:
            cancelled = other.submit(runner.client.cancel, held.run.id, "oleg")
            asked = "select seq from ledger.event where run = %s and kind = 'cancel_asked'"
            wait_until(
                "the cancellation to be asked for",
                lambda: bool(runner.rows("ledger", asked, held.run.id)) or "it is not",
            )
            let_go()
            assert cancelled.exception() is None
        over = runner.over(held.run)
    assert over.state is RunState.CANCELLED, over.detail
    assert "oleg" in over.detail and not over.stopped_with_its_runner, over.detail
    assert aside(runner) == [] and standing(runner) == [(1, ROWS)]


def test_a_rerun_that_refreshes_nothing_ends_without_a_look_into_the_warehouse(
    runner: Runner,
) -> None:
    runner.execute("alter table raw.size rename to hidden")
    failed = runner.run(models=["facts"])
    assert failed.state is RunState.ERROR
    runner.execute("alter table raw.hidden rename to size")
    rerun = partial(runner.ask, operation="rerun_failed", of=failed.id)
    with HOLDS["builds"](runner, lambda **_: rerun()) as held, warehouse_away(runner):
        assert kill(runner, held.run, "runner")
        over = runner.over(held.run)
    assert over.state is RunState.ERROR and over.stopped_with_its_runner is False
    assert "runner was stopped" in over.detail.lower(), over.detail
    assert "cannot be seen" not in over.detail, over.detail


@pytest.mark.timeout(4 * 3600)
def test_kills_at_random_moments_leave_the_old_rows_or_the_new_ones(
    runner: Runner, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 1.0)  # it waits longer after each end
    kills = request.config.getoption("--random-size") or KILLS
    seed = request.config.getoption("--random-seed")
    chance = random.Random(seed if seed is not None else secrets.randbelow(10**6))
    now, former = [(1, ROWS)], None
    killed = {"worker": 0, "runner": 0, "PostgreSQL": 0}
    swapped = 0
    for number in range(2, kills + 2):
        undoes = former is not None and chance.random() < 0.3
        next_version(runner, number)
        new = former if undoes else [(number, ROWS)]
        assert new is not None
        operation = "undo_refresh" if undoes else "full_refresh"
        run = runner.ask(operation=operation, models="facts")
        victim = chance.choice(sorted(killed))
        time.sleep(chance.uniform(0.0, 1.6))
        if not kill(runner, run, victim):
            victim = ""
        over = runner.over(run)
        until_nothing_is_aside(runner)
        found = standing(runner)
        assert found in (now, new), (number, victim, found, now, new, over.detail)
        if over.state is RunState.SUCCESS:
            assert found == new
        if any(step.step is Step.SWAPPED for step in over.refresh):
            assert found == new, over.refresh
        if found == new:
            now, former, swapped = new, now, swapped + 1
        if victim:
            killed[victim] += 1
    print(f"{killed}, {swapped} of {kills} were swapped")
    over = runner.over(refresh(runner))
    assert over.state is RunState.SUCCESS, over.detail
    assert standing(runner)[0][0] == kills + 1


def kill(runner: Runner, run: Run, victim: str) -> bool:
    """Whether there was still something to kill."""
    words = {
        "worker": worker_of(runner, run),
        "runner": "mage_dbt.server",
        "PostgreSQL": POSTGRES,
    }[victim]
    processes = runner.processes(words)
    if not processes:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        processes[0].kill()
    if victim == "PostgreSQL":
        wait_until("PostgreSQL to be back", lambda: answers(runner))
    with contextlib.suppress(Unavailable):
        runner.answering()
    return True


def answers(runner: Runner) -> bool | str:
    try:
        return bool(runner.query("select 1"))
    except psycopg.Error as error:
        return str(error)
