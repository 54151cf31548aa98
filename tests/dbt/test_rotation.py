"""A secret gets a new value while the runner stays up, and the old one is worth nothing."""

from __future__ import annotations

import threading

import psutil
import psycopg
import pytest

from mage_dbt.errors import RunnerUnreachable
from mage_dbt.run import RunState
from mage_dbt.workspace import rotate
from mage_dbt.workspace.postgres import WAREHOUSE, WORKSPACE
from tests.dbt.conftest import Stack
from tests.live import wait_until

PROJECT = "steps"

DATABASES = {"dbt": WAREHOUSE, "analyst": WAREHOUSE, "postgres": "postgres"}


def change(stack: Stack, name: str, now: bool = False) -> list[str]:
    said: list[str] = []
    rotate.rotate(name, stack.settings, stack.home, now, said.append)
    return said


def gets_in(stack: Stack, role: str, password: str) -> bool:
    try:
        psycopg.connect(
            host="127.0.0.1",
            port=stack.settings.postgres_port,
            user=role,
            password=password,
            dbname=DATABASES.get(role, WORKSPACE),
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def runner_pid(stack: Stack) -> int:
    return psutil.Process(stack.process("runner")["pid"]).children()[0].pid


def test_the_warehouses_password_is_changed_and_the_next_run_uses_the_new_one(
    stack: Stack,
) -> None:
    file = stack.home.secrets / "postgres-dbt"
    old, pid = file.read_text(), runner_pid(stack)
    assert stack.run(select="apart").state is RunState.SUCCESS
    change(stack, "warehouse")
    assert file.read_text() != old
    assert file.stat().st_mode & 0o777 == 0o600
    assert not gets_in(stack, "dbt", old)
    assert gets_in(stack, "dbt", file.read_text())
    run = stack.run(select="numbers+")
    assert run.state is RunState.SUCCESS, run.detail
    assert runner_pid(stack) == pid, "the runner stayed up"
    left = [
        path
        for path in stack.home.root.rglob("*")
        if path.is_file() and stack.home.postgres not in path.parents
        if old.encode() in path.read_bytes()
    ]
    assert left == []


def test_the_runner_does_not_keep_the_warehouses_password(stack: Stack) -> None:
    password = (stack.home.secrets / "postgres-dbt").read_text()
    assert password not in psutil.Process(runner_pid(stack)).environ().values()


def test_a_change_waits_for_the_runs_that_would_lose_their_connections(stack: Stack) -> None:
    stack.live(stack.commit("Sleep", apart="select 1 as id, pg_sleep(4)::text as slept"))
    run = stack.ask(select="apart")
    stack.running(run, "pg_sleep")
    old = (stack.home.secrets / "postgres-dbt").read_text()
    changing = threading.Thread(target=change, args=(stack, "warehouse"))
    changing.start()
    assert stack.over(run).state is RunState.SUCCESS
    changing.join(30)
    assert not changing.is_alive()
    assert not gets_in(stack, "dbt", old)


@pytest.mark.parametrize("role", ["analyst", "mage", "ledger", "postgres"])
def test_the_password_of_every_role_can_be_changed(stack: Stack, role: str) -> None:
    name = {"analyst": "notebooks", "postgres": "superuser"}.get(role, role)
    file = stack.home.secrets / ("postgres-superuser" if role == "postgres" else f"postgres-{role}")
    old = file.read_text()
    change(stack, name)
    assert not gets_in(stack, role, old)
    assert gets_in(stack, role, file.read_text())
    stack.postgres.prepare_workspace()
    assert gets_in(stack, role, file.read_text()), "the next start changes nothing"


@pytest.mark.parametrize("name", ["runner", "api-token"])
def test_the_runner_starts_again_with_what_it_reads_at_its_start(stack: Stack, name: str) -> None:
    pid = runner_pid(stack)
    said = change(stack, name)
    assert any("runner was started again" in one for one in said)
    assert runner_pid(stack) != pid

    def answers() -> bool | str:
        try:
            return bool(stack.client.status()["live"]) or "no live commit"
        except RunnerUnreachable as error:
            return str(error)

    wait_until("the runner to answer", answers, 60)
    assert stack.run(select="apart").state is RunState.SUCCESS
