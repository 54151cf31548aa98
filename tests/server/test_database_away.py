"""A button pressed while PostgreSQL takes no connection: a clear answer soon, and one run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress

import psutil
import psycopg2
import pytest

from mage_dbt.launcher.database_roles import SUPERUSER
from mage_dbt.model.run import RunState
from tests.harness import forms
from tests.harness.forms import Document, Visitor
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"


@pytest.fixture
def visitor(runner: Runner) -> Iterator[Visitor]:
    yield from forms.browsers(f"http://127.0.0.1:{runner.settings.runner_port}")


def as_superuser(runner: Runner, *statements: str) -> None:
    with closing(psycopg2.connect(runner.postgres.url(SUPERUSER))) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)


@contextmanager
def refusing(runner: Runner) -> Iterator[None]:
    """The server refuses the runner's role, as it refuses everybody when its slots are taken."""
    as_superuser(
        runner,
        "alter role runner connection limit 0",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'runner'",
    )
    try:
        yield
    finally:
        as_superuser(runner, "alter role runner connection limit -1")


@contextmanager
def frozen(runner: Runner) -> Iterator[None]:
    """The server and all its sessions stand still: connections are open, and nothing comes."""
    with closing(psycopg2.connect(runner.postgres.url(SUPERUSER))) as connection:
        server = psutil.Process(connection.info.backend_pid).parent()
        assert server is not None
    stopped = [server]
    try:
        server.suspend()  # first: from now on it has no new children
        for session in server.children():
            with suppress(psutil.NoSuchProcess):  # it was about to end
                session.suspend()
                stopped.append(session)
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def count(runner: Runner) -> int:
    return int(runner.rows("ledger", "select count(*) from ledger.run")[0][0])


@pytest.mark.parametrize("away", [refusing, frozen])
def test_a_pressed_button_is_answered_soon_and_begins_one_run_when_it_is_sent_again(
    runner: Runner, visitor: Visitor, away: Callable[[Runner], AbstractContextManager[None]]
) -> None:
    before = count(runner)
    form = visitor.see("/ask/run", model="numbers").form("Why (kept in the history)")
    with away(runner):  # until there is an answer, so one that waited for it would never come
        answer = visitor.send(form, why="late <b>data</b>")
    page = Document(answer.text)
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    assert "The database does not answer" in page.text
    assert "nothing was begun or changed" in page.text
    again = page.form("Send it again")
    assert again.fields["why"] == "late <b>data</b>" and again.fields["key"] == form.fields["key"]

    def sent() -> tuple[str] | str:
        answer = visitor.send(again)
        assert answer.status_code in (303, 503), answer.text
        return (answer.headers["location"],) if answer.status_code == 303 else "not yet"

    (where,) = wait_until("the runner to be connected again", sent)
    assert wait_until("it to be pressed twice", sent) == (where,)
    run = runner.over(runner.client.run(where.rpartition("/")[2]))
    assert (run.state, run.why, count(runner)) == (RunState.SUCCESS, "late <b>data</b>", before + 1)


def test_the_status_says_that_the_database_hangs(runner: Runner) -> None:
    with frozen(runner):
        found = subprocess.run(
            [sys.executable, "-m", "mage_dbt.tool", "status"],
            env={"PATH": os.environ["PATH"], **runner.settings.as_environment()},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "\nledger    PostgreSQL, which holds the ledger, does not answer" in found.stdout
    assert found.stdout.startswith("live      ") and "\ndaily     next build" in found.stdout
    assert "\nbuild " not in found.stdout, "the ledger knows it"


def test_a_language_is_chosen_while_the_database_is_away(runner: Runner, visitor: Visitor) -> None:
    choice = visitor.see("/settings").choice_of("한국어")
    with refusing(runner):
        assert visitor.send(choice).status_code == 303
