"""A started workspace on `tests/projects/steps`, shared by the tests that need all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from mage_dbt.client import RunnerClient
from mage_dbt.errors import Unavailable
from mage_dbt.mage.api import MageApi
from mage_dbt.run import Run
from tests.dbt.conftest import git_commit, make_repository
from tests.live import LiveWorkspace, share_environments, wait_until

OVER_SECONDS = 180.0


@dataclass
class Workspace:
    """A started workspace on `tests/projects/steps`, seen from Mage and from the runner."""

    live: LiveWorkspace
    repository: Path
    mage: MageApi
    client: RunnerClient

    def commit(self, message: str, **models: str) -> None:
        """Commits models and waits until they are live."""
        for name, text in models.items():
            (self.repository / "models" / f"{name}.sql").write_text(text)
        sha = git_commit(self.repository, message)

        def probe() -> bool | str:
            live = self.client.status()["live"]
            return bool(live and live["sha"] == sha) or f"{live and live['sha']} is live"

        wait_until(f"commit {sha[:7]} to be live", probe, 60)

    def trigger(self, pipeline: str, **variables: Any) -> int:
        return self.mage.fire(self.mage.api_trigger(pipeline), variables)

    def status(self, number: int) -> str:
        return str(self.mage.pipeline_run(number)["status"])

    def over(self, number: int, *wanted: str) -> str:
        """Waits until the pipeline run has one of the statuses."""
        wanted = wanted or ("completed", "failed", "cancelled")

        def probe() -> list[str] | str:
            try:
                status = self.status(number)
            except Unavailable as error:
                return str(error)
            return [status] if status in wanted else f"it is {status}"

        return wait_until(f"pipeline run {number} to be {wanted}", probe, OVER_SECONDS)[0]

    def run_of(self, number: int) -> Run:
        """The newest run of a pipeline run, with its nodes."""

        def probe() -> Run | str:
            found = self.client.runs(limit=1, mage_run=number)
            return (
                self.client.run(found[0].id)
                if found
                else f"no run yet, Mage says {self.status(number)}"
            )

        return wait_until(f"pipeline run {number} to have a run", probe, 60)

    def log(self, pipeline: str, number: int) -> str:
        """What Mage shows on the block's log page."""
        partition = self.mage.pipeline_run(number)["variables"]["execution_partition"]
        parts = ("pipelines", pipeline, ".logs", partition, f"{pipeline}.log")
        found = list(self.live.home.mage_data.rglob(str(Path(*parts))))
        assert len(found) == 1, found
        return found[0].read_text()

    def output(self, number: int) -> dict[str, dict[str, Any]]:
        """The block's output table as Mage shows it: a row a node, by the node's name."""
        blocks = self.mage.pipeline_run(number)["block_runs"]
        address = f"http://127.0.0.1:{self.live.settings.mage_port}"
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
            answer = http.get(f"/api/block_runs/{blocks[-1]['id']}/outputs").json()
        table = answer["outputs"][0]["sample_data"]
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        return {row["node"]: row for row in rows}

    def at_work(self, sql: str) -> bool:
        port = self.live.settings.postgres_port
        password = (self.live.home.secrets / "postgres-dbt").read_text()
        with psycopg.connect(
            host="127.0.0.1", port=port, user="dbt", password=password, dbname="warehouse"
        ) as connection:
            found = connection.execute(
                "select 1 from pg_stat_activity where state = 'active' and query like %s"
                " and pid <> pg_backend_pid()",
                [f"%{sql}%"],
            ).fetchall()
        return bool(found)

    def until_at_work(self, sql: str) -> None:
        wait_until(f"{sql} to run", lambda: self.at_work(sql) or "no such query", 60)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("pipelines")
    repository = make_repository(folder / "repository", "steps")
    live = LiveWorkspace(folder / "home", DBT_METRIC_REPO=str(repository))
    share_environments(live.home)
    live.start_and_wait()
    try:
        with MageApi(live.settings, live.home) as mage:
            yield Workspace(live, repository, mage, RunnerClient(live.home.runner_socket))
    finally:
        live.stop()
