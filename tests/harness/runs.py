"""A harness whose runner takes requests: commits, runs, and what stands in the warehouse."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from mage_dbt.client import RunnerClient
from mage_dbt.errors import Unavailable
from mage_dbt.mage import begun
from mage_dbt.request import Request
from mage_dbt.run import Run
from mage_dbt.workspace.secret_files import read_or_make
from tests.harness.base import Harness
from tests.harness.repository import git_commit
from tests.harness.waiting import wait_until

READY_SECONDS = 180.0
RUN_SECONDS = 240.0


class WithRunner(Harness):
    """Asks a runner, as a client of it."""

    repository: Path

    @cached_property
    def client(self) -> RunnerClient:
        return RunnerClient(self.home.runner_socket)

    def commit(self, message: str, **files: str | None) -> str:
        """Writes models (`name="select 1"`; None removes) and commits; gives the SHA."""
        for name, text in files.items():
            path = self.repository / "models" / f"{name}.sql"
            path.unlink() if text is None else path.write_text(text)
        return git_commit(self.repository, message)

    def publish(self, message: str, **files: str | None) -> str:
        """The same, and waits until that commit is the live one."""
        sha = self.commit(message, **files)
        self.live(sha)
        return sha

    def live(self, sha: str) -> dict[str, Any]:
        """Waits until the commit is the live one; gives the status."""

        def right(status: dict[str, Any]) -> bool:
            broken = status["broken"]
            assert not (broken and broken["sha"] == sha), broken["message"]
            return bool(status["live"] and status["live"]["sha"] == sha)

        return self.until(f"commit {sha[:7]} to be live", right)

    def broken(self, sha: str) -> dict[str, Any]:
        """Waits until the commit is told to be broken; gives what is told of it."""

        def right(status: dict[str, Any]) -> bool:
            return bool(status["broken"] and status["broken"]["sha"] == sha)

        found: dict[str, Any] = self.until(f"commit {sha[:7]} to be broken", right)["broken"]
        return found

    def until(self, what: str, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until the status is right, and gives it. A runner that is away is waited for."""

        def probe() -> dict[str, Any] | str:
            try:
                status = self.client.status()
            except Unavailable as error:
                return str(error)
            return status if right(status) else f"{status['live']}, {status['broken']}"

        return wait_until(what, probe, READY_SECONDS)

    def answering(self) -> dict[str, Any]:
        """Waits until the runner answers and has a live commit; gives the status."""
        return self.until("the runner to answer again", lambda status: bool(status["live"]))

    def ask(self, **request: Any) -> Run:
        """Asks for a run and does not wait for it; as schedule or start with their ticket."""
        asked = Request.parse({"cause": "tool", "caller": "test", **request})
        proof = ""
        if asked.cause in begun.CAUSES:
            secret = read_or_make(self.home.runner_to_mage_secret)
            proof = begun.ticket(secret, asked.cause, asked.mage_run)
        return self.client.submit(asked, proof)

    def over(self, run: Run, seconds: float = RUN_SECONDS) -> Run:
        """Waits for a run's final state. A runner that is away is waited for."""

        def probe() -> Run | str:
            try:
                now = self.client.run(run.id)
            except Unavailable as error:
                return str(error)
            return now if now.state.final else f"{now.state} {now.detail}"

        return wait_until(f"run {run.id} to be over", probe, seconds)

    def run(self, **request: Any) -> Run:
        return self.over(self.ask(**request))

    def running(self, run: Run, sql: str) -> None:
        """Waits until the run's SQL that holds the words `sql` is at work in the database."""

        def probe() -> bool | str:
            return bool(self.at_work(sql)) or f"{self.client.run(run.id).state}, no such query"

        wait_until(f"{sql} to run", probe, RUN_SECONDS)

    def until_at_work(self, sql: str) -> None:
        """Waits until any SQL that holds these words is at work in the database."""
        wait_until(f"{sql} to run", lambda: bool(self.at_work(sql)) or "no such query")

    def until_idle(self, sql: str, seconds: float) -> None:
        """Waits until no SQL with these words is at work any more."""
        wait_until(f"{sql} to be gone", lambda: not self.at_work(sql) or "it is there", seconds)

    def at_work(self, sql: str) -> list[Any]:
        return self.query(
            "select pid from pg_stat_activity where state = 'active' and query like %s"
            " and pid <> pg_backend_pid() and datname = current_database()",
            f"%{sql}%",
        )

    def execute(self, sql: str) -> None:
        """Changes something in the warehouse, as its owner."""
        with self.connect("dbt") as connection:
            connection.execute(sql.encode())

    def query(self, sql: str, *values: Any) -> list[Any]:
        """Rows of the warehouse, as its owner sees them."""
        return self.rows("dbt", sql, *values)
