"""Bad luck around runs that have not begun yet: each has its end, with a clear message, and the
next run works.

One runner with two fork servers at most, whose runs' folders are on a disk of their own.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from pathlib import Path

import psutil
import pytest

from mage_dbt.errors import Unavailable
from mage_dbt.model.run import Run, RunState
from tests.conftest import not_run
from tests.harness import runner as runners
from tests.harness.base import command_line
from tests.harness.models import HELD, waiting
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

FORK_SERVERS = 2

DISK_MB = 24

NEEDS = """
{%- if not var('needed', '') -%}
    {{ exceptions.raise_compiler_error("Which one is needed? Give `needed`.") }}
{%- endif -%}
select {{ var('needed') }} as id
"""
"""A model that cannot be parsed without the variable."""

NUMBERS = itertools.count(4711)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    runs = folder / "home" / "runs"
    runs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(runs)]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        not_run(f"no small disk to fill: {done.stderr.strip()}")
    try:
        # It stops PostgreSQL, which is therefore its own.
        warm = {"RUNNER_FORK_SERVERS": str(FORK_SERVERS)}
        with runners.on_project(folder, None, "steps", **warm) as found:
            yield found
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)


def works(runner: Runner, **request: object) -> Run:
    """Another run passes, in a fork."""
    run = runner.run(select="apart", **request)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.how(run) == "warm"
    return run


def test_fifty_requests_at_once_all_have_their_turn(runner: Runner) -> None:
    def ask(number: int) -> Run:
        command = "compile --select apart"
        return runner.ask(operation="command", command=command, key=f"fifty {number}")

    with ThreadPoolExecutor(50) as pool:
        asked = list(pool.map(ask, range(50)))
    assert len({one.id for one in asked}) == 50
    for one in asked:
        run = runner.over(one)
        assert run.state is RunState.SUCCESS, run.detail
    works(runner)


def test_a_disk_that_fills_up_during_a_run_is_said_and_the_next_run_works(runner: Runner) -> None:
    number = next(NUMBERS)
    runner.live(runner.commit("Wait", apart=waiting(number)))
    with ExitStack() as until_over:
        with runner.held(number):
            run = runner.ask(select="apart")
            runner.running(run, HELD)
            until_over.enter_context(full_disk(runner.home.runs))
        run = runner.over(run)
    assert run.state is RunState.ERROR
    assert "No space left on device" in run.detail
    works(runner)


def test_a_full_disk_refuses_a_run_in_words_and_the_next_run_works(runner: Runner) -> None:
    with full_disk(runner.home.runs):
        run = runner.run(select="apart")
    assert run.state is RunState.ERROR
    assert "No space left on device" in run.detail
    works(runner)


def test_after_a_restart_of_postgresql_runs_go_on(runner: Runner) -> None:
    works(runner)
    pid = int((runner.home.root / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    psutil.Process(pid).wait(SECONDS)

    def accepted() -> Run | str:
        try:
            return runner.ask(select="apart", key="after the restart")
        except Unavailable as error:
            return str(error)

    run = runner.over(wait_until("a request to be accepted", accepted))
    assert run.state is RunState.SUCCESS, run.detail
    works(runner)


def test_a_commit_that_parses_only_with_a_variable_is_broken_and_names_it(runner: Runner) -> None:
    sha = runner.commit("Needs a variable", apart=NEEDS)

    def right(status: dict[str, object]) -> bool:
        broken = status["broken"]
        return isinstance(broken, dict) and broken["sha"] == sha

    told = runner.until("the commit to be broken", right)["broken"]
    assert "Give `needed`" in told["message"], told
    works(runner)
    runner.live(runner.commit("It has a default", apart="select {{ var('needed', 1) }} as id"))
    works(runner, variables={"needed": 2})


def test_a_run_is_forked_while_another_fork_server_is_prepared(runner: Runner) -> None:
    works(runner)
    other = runner.ask(select="apart", variables={"size": next(NUMBERS)})
    works(runner, key="meanwhile")
    other = runner.over(other)
    assert other.state is RunState.SUCCESS, other.detail
    assert runner.how(other) == "warm"


def test_a_run_is_cancelled_before_its_worker_exists(runner: Runner) -> None:
    variables = {"size": next(NUMBERS)}
    with no_fork_server_begins(runner):
        run = runner.ask(select="apart", variables=variables)
        runner.client.cancel(run.id, "the test")
        run = runner.over(run)
    assert run.state is RunState.CANCELLED and "the test" in run.detail
    assert not [one for one in psutil.process_iter() if run.id in command_line(one)]
    works(runner, variables=variables)


def test_fork_servers_are_bounded_and_go_with_the_last_run_of_their_commit(runner: Runner) -> None:
    number = next(NUMBERS)
    runner.live(runner.commit("Wait again", apart=waiting(number)))

    def few() -> bool | str:
        found = len(runner.fork_servers())
        return found <= FORK_SERVERS or f"there are {found}"

    for _ in range(FORK_SERVERS + 1):
        works(runner, variables={"size": next(NUMBERS)})
        wait_until("the one before to go", few)  # it is told to before the next begins
    with runner.held(number):
        run = runner.ask(select="apart")
        runner.running(run, HELD)
        [older] = {one.ppid() for one in psutil.process_iter() if run.id in command_line(one)}
        runner.live(runner.commit("It waits no more", apart="select 1 as id"))
        assert psutil.pid_exists(older)
    assert runner.over(run).state is RunState.SUCCESS
    wait_until(
        "the older commit's fork server to go",
        lambda: older not in [one.pid for one in runner.fork_servers()] or "it is there",
    )
    works(runner)


@contextmanager
def no_fork_server_begins(runner: Runner) -> Iterator[None]:
    """Zygotes, which would fork one, stand still."""
    zygotes = runner.processes(f"mage_dbt.dbt.process zygote {runner.home.warm}")
    assert zygotes
    for zygote in zygotes:
        zygote.suspend()
    try:
        yield
    finally:
        for zygote in zygotes:
            zygote.resume()


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """The disk of this folder is full in the block, and stays so: what the runner does in the
    background removes files when it is over."""
    filler, over = folder / "filler", threading.Event()

    def keep_full(out: RawIOBase) -> None:
        while not over.wait(0.001):
            fill(out)

    with filler.open("wb", buffering=0) as out, ThreadPoolExecutor(1) as filling:
        fill(out)
        kept = filling.submit(keep_full, out)
        try:
            yield
        finally:
            over.set()
            kept.result()
            filler.unlink()


def fill(out: RawIOBase) -> None:
    """Writes until there is no room left."""
    for size in (1 << 20, 1 << 12):
        try:
            while out.write(b"\0" * size):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
