"""`scripts/start` with every real process: Mage, the runner, PostgreSQL, git-sync."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from mage_dbt.base.processes import ended, wait_until_ended
from mage_dbt.client.client import RunnerClient
from mage_dbt.model.run import RunState
from tests.harness.base import command_line
from tests.harness.waiting import SECONDS, wait_until
from tests.harness.workspace import Workspace

NAMES = ("postgres", "git-sync", "runner", "mage")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One workspace on a small project, started once for this module."""
    workspace = Workspace.on_project(tmp_path_factory.mktemp("start"), "steps")
    workspace.start_and_wait()
    yield workspace
    workspace.stop()


@pytest.fixture
def running(live: Workspace) -> Workspace:
    """The module's workspace, started again when the test before stopped it."""
    if not live.survivors():
        live.start_and_wait()
    return live


def test_the_first_start_builds_once_through_mage(live: Workspace) -> None:
    runs = RunnerClient(live.home.runner_socket).runs()
    assert runs
    assert all(run.state is RunState.SUCCESS and run.mage_run for run in runs)
    assert "Success in" in live.output()


@pytest.mark.parametrize("whom", ["the process", "its subreaper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_killed_is_started_again(running: Workspace, name: str, whom: str) -> None:
    restarts = running.kept(name)["restarts"]
    victim = running.child(name) if whom == "the process" else running.subreaper(name)
    family = [victim, *victim.children(recursive=True)]
    victim.kill()
    running.wait_until_up(name, restarts + 1)

    def probe() -> bool | str:
        left = [one for one in family if not ended(one)]
        return not left or str(left)

    # A fork server that is parsing sees only afterwards that its runner is gone.
    wait_until("all that was killed with it to be gone", probe)
    assert f"{name} ended (killed by SIGKILL)" in running.output()


def test_mage_runs_a_pipeline_after_all_that(running: Workspace) -> None:
    assert running.ended(running.trigger("daily_full_build")) == "completed"


def test_a_second_start_in_the_same_home_names_the_first(running: Workspace) -> None:
    done = subprocess.run(
        [str(running.checkout / "scripts" / "start")],
        env=running.environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 1
    assert f"process {running.process.pid}" in done.stderr
    assert f"http://127.0.0.1:{running.environ['MAGE_PORT']}" in done.stderr


def test_no_secret_is_on_a_command_line(running: Workspace) -> None:
    secrets = [path.read_text() for path in running.home.secrets.iterdir()]
    lines = [command_line(one) for one in running.survivors()]
    assert len(secrets) >= 5
    assert len([line for line in lines if "mage_dbt" in line]) >= 5
    assert [line for line in lines for secret in secrets if secret in line] == []
    modes = {oct(path.stat().st_mode & 0o777) for path in running.home.secrets.iterdir()}
    assert modes == {"0o600"}
    assert running.home.secrets.stat().st_mode & 0o777 == 0o700


def test_mage_cannot_write_to_the_warehouse(running: Workspace) -> None:
    password = (running.home.secrets / "postgres-dbt").read_text()
    for one in (running.child("mage"), running.child("git-sync")):
        environ = one.environ()
        assert password not in environ.values()
        assert not [name for name in environ if name.startswith(("WAREHOUSE_", "PG"))]
    assert "WORKSPACE_DATABASE_URL" not in running.child("mage").environ()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(running: Workspace, signum: signal.Signals) -> None:
    assert running.stop(signum) == 130
    assert running.survivors() == []
    assert "database system is shut down" in _last_line(running)


def test_a_second_interrupt_ends_everything_too(running: Workspace) -> None:
    process = running.process
    process.send_signal(signal.SIGINT)
    running.wait_for_output("Stopping")
    process.send_signal(signal.SIGINT)
    running.wait()
    running.wait_until_nothing_runs()


def test_nothing_outlives_a_supervisor_that_is_killed(running: Workspace) -> None:
    running.process.kill()
    running.wait_until_nothing_runs()
    assert "database system is shut down" in _last_line(running)


def test_the_next_start_ends_what_killed_subreapers_left(running: Workspace) -> None:
    supervisor = running.process
    subreapers = supervisor.children()
    for one in subreapers:
        one.suspend()  # or the first would already stop its child while the last is being killed
    for one in (supervisor, *subreapers):
        one.kill()
    assert wait_until_ended(subreapers, SECONDS) == []
    left = running.survivors()
    lines = " ".join(command_line(one) for one in left)
    assert "postgres" in lines
    assert "mage_dbt.server" in lines
    running.start_and_wait()
    assert "An earlier start was killed" in running.output()
    assert [one for one in left if not ended(one)] == []


def test_a_later_start_keeps_history_and_builds_nothing(running: Workspace) -> None:
    before = [run.id for run in RunnerClient(running.home.runner_socket).runs()]
    running.stop()
    running.start_and_wait()
    assert [run.id for run in RunnerClient(running.home.runner_socket).runs()] == before
    assert "Live commit" in running.output()


def test_an_unreachable_repository_is_told_at_the_start(new_workspace: Workspace) -> None:
    missing = str(new_workspace.home.root / "missing.git")
    new_workspace.environ["DBT_METRIC_REPO"] = missing
    new_workspace.start()
    new_workspace.wait_for_output("No commit can be built yet")
    assert missing in new_workspace.output()
    assert "does not appear to be a git repository" in new_workspace.output()


def _last_line(workspace: Workspace) -> str:
    return (workspace.home.logs / "postgres.log").read_text().strip().splitlines()[-1]
