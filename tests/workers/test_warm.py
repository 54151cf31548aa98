"""Runs are forked from a process that has parsed their commit, and never from a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.commits.profile import Profile
from mage_dbt.errors import Unavailable
from mage_dbt.model.commit import Commit
from mage_dbt.model.run import RunState
from mage_dbt.settings import CHECKOUT
from mage_dbt.workers.fork_server import ForkServer, Task
from mage_dbt.workers.forker import Forker, ForkerGone
from mage_dbt.workers.job import DESCRIBE, Job
from mage_dbt.workers.worker import ColdWorker
from mage_dbt.workers.zygote import Zygotes
from tests.harness.models import sleepy
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"


def kill_fork_servers(runner: Runner) -> list[int]:
    found = runner.fork_servers()
    assert found
    for one in found:
        with suppress(psutil.NoSuchProcess):  # that of an earlier commit, which goes by itself
            one.kill()
    for one in found:
        one.wait(SECONDS)
    return [one.pid for one in found]


def test_a_run_is_forked_and_leaves_dbts_own_results_in_its_folder(runner: Runner) -> None:
    run = runner.run()
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.how(run) == "warm"
    assert (runner.home.runs / run.id / "target" / "run_results.json").is_file()


def test_another_tool_finds_the_results_and_the_manifest_beside_them(runner: Runner) -> None:
    """dbt itself is that tool. The manifest takes no room: all runs of a commit have one file."""
    model = "{{ config(alias=var('called', 'by_default')) }} select 1 as id"
    live = runner.live(runner.commit("A name for the manifest", apart=model))["live"]
    runs = [runner.run(select="apart"), runner.run(select="apart")]
    folders = [runner.home.runs / run.id / "target" for run in runs]
    one, other = ((folder / "manifest.json").stat() for folder in folders)
    assert one.st_ino == other.st_ino
    assert one.st_ino in {
        path.stat().st_ino
        for path in runner.home.commits.glob(f"{live['sha'][:12]}-*/target/manifest.json")
    }
    assert aliases(folders[0]) == {"by_default"}
    variable = runner.run(select="apart", variables={"called": "as_given"})
    assert runner.how(variable) == "warm"
    folder = runner.home.runs / variable.id / "target"
    assert aliases(folder) == {"as_given"}
    assert aliases(folders[0]) == {"by_default"}
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("dbt")), "--quiet", "ls"),
            *("--select", "result:success", "--state", str(folder)),
            *("--vars", json.dumps({"called": "as_given"})),
            *("--project-dir", str(runner.repository), "--target-path", str(folder.parent / "ls")),
            *("--profiles-dir", str(CHECKOUT / "dbt" / "profiles"), "--profile", "embedded"),
            *("--log-path", str(folder.parent / "ls")),
        ],
        env=dbt_environment({**os.environ, **runner.postgres.warehouse_environment()}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["steps.apart"], done.stdout + done.stderr


def aliases(target: Path) -> set[str]:
    """What the manifest in a run's target folder calls the model `apart`."""
    nodes = json.loads((target / "manifest.json").read_text())["nodes"]
    return {node["alias"] for name, node in nodes.items() if name == "model.steps.apart"}


def test_a_variable_read_while_parsing_reaches_a_fork_server_that_parsed_with_it(
    runner: Runner,
) -> None:
    model = "{{ config(alias=var('called', 'by_default')) }} select 1 as id"
    runner.live(runner.commit("A name that is a variable", apart=model))
    for variables, table in (({}, "by_default"), ({"called": "another"}, "another")):
        for _ in range(2):
            run = runner.run(select="apart", variables=variables)
            assert run.state is RunState.SUCCESS, run.detail
            assert runner.how(run) == "warm"
            [node] = [one for one in run.nodes if one.type == "model"]
            assert node.relation.endswith(f'"{table}"')
            assert runner.query("select to_regclass(%s)::text", f"analytics.{table}") != [(None,)]


def test_a_killed_fork_server_is_replaced_and_the_runs_go_on(runner: Runner) -> None:
    runner.live(runner.commit("Begin anew", apart="select 1 as id"))
    killed = kill_fork_servers(runner)
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.how(run) == "warm" or "dbt was started anew" in " ".join(run.warnings)

    def replaced() -> bool | str:
        now = [one.pid for one in runner.fork_servers()]
        return (bool(now) and not set(now) & set(killed)) or f"{now} are there"

    wait_until("another fork server", replaced)
    again = runner.run(select="apart")
    assert again.state is RunState.SUCCESS and runner.how(again) == "warm"


def test_a_run_outlives_its_fork_server_and_can_be_cancelled(runner: Runner) -> None:
    runner.live(runner.commit(f"Sleep {time.monotonic()}", apart=sleepy()))
    run = runner.ask(select="apart")
    runner.running(run, "pg_sleep")
    kill_fork_servers(runner)
    assert runner.at_work("pg_sleep")
    runner.client.cancel(run.id, "the test")
    assert runner.over(run).state is RunState.CANCELLED
    assert not runner.at_work("pg_sleep")


def live_commit(runner: Runner) -> Commit:
    live = runner.client.status().to_json()["live"]["sha"][:12]
    [ready] = runner.home.commits.glob(f"{live}-*/ready.json")
    return Commit.read(ready.parent)


def test_a_dbt_that_finds_no_room_as_it_looks_at_a_commit_blames_the_machine(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in runner.postgres.warehouse_environment().items():
        monkeypatch.setenv(name, value)
    commit = live_commit(runner)
    job = Job(
        folder=tmp_path / "job",
        commit=commit.sha,
        project=commit.project,
        parsed=commit.parsed,
        dbt_arguments=Profile.of(runner.settings, runner.home).for_project(commit.project),
        command=DESCRIBE,
        select=(),
        exclude=(),
        flags=(),
        variables={},
    )
    (job.folder / "target").mkdir(parents=True)
    (job.folder / "target" / "manifest.json").symlink_to("/dev/full")
    worker = ColdWorker(job)
    with pytest.raises(Unavailable, match="No space left on device"):
        worker.describe()
    worker.close()


def test_a_fork_server_that_cannot_be_understood_is_ended_and_says_so(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in runner.postgres.warehouse_environment().items():
        monkeypatch.setenv(name, value)
    arguments = [
        *Profile.of(runner.settings, runner.home).for_project(live_commit(runner).project),
        *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path)),
    ]
    task, zygotes = Task(tuple(arguments), {}), Zygotes("a test's")
    server = ForkServer(task, dbt_environment(os.environ), tmp_path, "a test's", zygotes)
    assert not server.parsed.result(SECONDS)["failed"]

    def not_understood(_: Forker) -> bool:
        raise IndexError("a message without a descriptor")

    monkeypatch.setattr(Forker, "_take_message", not_understood)
    with pytest.raises(ForkerGone, match="it ended"):
        server.fork(tmp_path, [2, 2, 2])
    with pytest.raises(ForkerGone, match="it ended"):
        server.fork(tmp_path, [2, 2, 2])
    assert server.children == 0
    wait_until("its end", lambda: not psutil.pid_exists(server.pid) or "it is there")
