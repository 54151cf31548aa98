"""A secret gets a new value while the runner stays up, and the old one is worth nothing."""

from __future__ import annotations

import threading

import psycopg
import pytest

from mage_dbt.launcher import rotate
from mage_dbt.launcher.database_roles import WAREHOUSE, WORKSPACE
from mage_dbt.model.run import RunState
from tests.harness.models import HELD, waiting
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

LOCK = 4711

PROJECT = "steps"
OWN_POSTGRESQL = True

DATABASES = {"dbt": WAREHOUSE, "analyst": WAREHOUSE, "postgres": "postgres"}


def change(runner: Runner, name: str, now: bool = False) -> list[str]:
    said: list[str] = []
    rotate.rotate(name, runner.settings, runner.home, now, said.append)
    return said


def gets_in(runner: Runner, role: str, password: str) -> bool:
    try:
        psycopg.connect(
            host="127.0.0.1",
            port=runner.settings.postgres_port,
            user=role,
            password=password,
            dbname=DATABASES.get(role, WORKSPACE),
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_warehouses_password_is_changed_and_the_next_run_uses_the_new_one(
    runner: Runner,
) -> None:
    file = runner.home.secrets / "postgres-dbt"
    old, pid = file.read_text(), runner.itself().pid
    assert runner.run(select="apart").state is RunState.SUCCESS
    change(runner, "warehouse")
    assert file.read_text() != old
    assert file.stat().st_mode & 0o777 == 0o600
    assert not gets_in(runner, "dbt", old)
    assert gets_in(runner, "dbt", file.read_text())
    run = runner.run(select="numbers+")
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.itself().pid == pid, "the runner stayed up"
    left = [file for file, content in runner.files(runner.home.postgres) if old.encode() in content]
    assert left == []


def test_the_runner_does_not_keep_the_warehouses_password(runner: Runner) -> None:
    password = (runner.home.secrets / "postgres-dbt").read_text()
    assert password not in runner.itself().environ().values()


def test_a_change_waits_for_the_runs_that_would_lose_their_connections(runner: Runner) -> None:
    runner.publish("Wait", apart=waiting(LOCK))
    old = (runner.home.secrets / "postgres-dbt").read_text()
    changing = threading.Thread(target=change, args=(runner, "warehouse"))
    with runner.held(LOCK):
        run = runner.ask(select="apart")
        runner.running(run, HELD)
        changing.start()
        changing.join(3)  # has to pass
        assert changing.is_alive() and gets_in(runner, "dbt", old)
    assert runner.over(run).state is RunState.SUCCESS
    changing.join(SECONDS)
    assert not changing.is_alive()
    assert not gets_in(runner, "dbt", old)


@pytest.mark.parametrize("role", ["analyst", "mage", "ledger", "postgres"])
def test_the_password_of_every_role_can_be_changed(runner: Runner, role: str) -> None:
    name = {"analyst": "notebooks", "postgres": "superuser"}.get(role, role)
    file = runner.home.secrets / (
        "postgres-superuser" if role == "postgres" else f"postgres-{role}"
    )
    old = file.read_text()
    change(runner, name)
    assert not gets_in(runner, role, old)
    assert gets_in(runner, role, file.read_text())
    runner.postgres.prepare_workspace()
    assert gets_in(runner, role, file.read_text()), "the next start changes nothing"


@pytest.mark.parametrize("name", ["runner", "api-token"])
def test_the_runner_starts_again_with_what_it_reads_at_its_start(runner: Runner, name: str) -> None:
    pid = runner.itself().pid
    said = change(runner, name)
    assert any("runner was started again" in one for one in said)
    assert runner.itself().pid != pid
    runner.answering()
    assert runner.run(select="apart").state is RunState.SUCCESS
