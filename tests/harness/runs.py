"""A harness whose runner takes requests: commits, runs, and what stands in the warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import Unavailable
from mage_dbt.identity import ticket
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run
from tests.harness.base import Harness
from tests.harness.repository import git_commit
from tests.harness.waiting import wait_until

READY_SECONDS = 300.0
RUN_SECONDS = 300.0

BEGUN = """
select exists (
    select from ledger.event as began where run = %s and kind = 'node_started' and not exists (
        select from ledger.event as ended where ended.run = began.run
            and ended.kind = 'node_finished' and ended.data ->> 'node' = began.data ->> 'node'
    )
)
"""
"""Whether a node of the run has begun and has not ended; the run's state was written before."""


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

    def surveyed(self, since: datetime | None = None) -> None:
        """Waits until no look at the live commit's tables is to come, or under way, because of that
        commit or of a run that ended at `since`: it has sessions and locks of its own."""

        def right(status: dict[str, Any]) -> bool:
            survey, live = status["survey"], status["live"]
            if not survey or not live or survey["commit"] != live["sha"]:
                return False
            return since is None or datetime.fromisoformat(survey["at"]) >= since

        self.until("the survey of the live commit", right)

    def until(self, what: str, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until the status is right, and gives it. A runner that is away is waited for."""

        def probe() -> dict[str, Any] | str:
            try:
                status = self.client.status().to_json()
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
        if asked.cause in ticket.CAUSES:
            secret = read_or_make(self.home.runner_to_mage_secret)
            proof = ticket.ticket(secret, asked.cause, asked.mage_run)
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

    def end_runs(self) -> None:
        """Cancels what runs and waits, such as a refresh that is held for a decision."""
        for active in self.client.status().active_runs:
            self.client.cancel(active.run, "a test that failed")

    def run(self, **request: Any) -> Run:
        return self.over(self.ask(**request))

    def running(self, run: Run, sql: str) -> None:
        """Waits until the run's SQL that holds the words `sql` is at work in the database, and its
        node in the ledger, which hears of it later."""

        def probe() -> bool | str:
            if not self.at_work(sql):
                return f"{self.client.run(run.id).state}, no such query"
            [(begun,)] = self.rows("ledger", BEGUN, run.id)
            return bool(begun) or "the ledger knows of no node that has begun and not ended"

        wait_until(f"{sql} to run", probe, RUN_SECONDS)

    def until_at_work(self, sql: str) -> None:
        """Waits until any SQL that holds these words is at work in the database."""
        wait_until(f"{sql} to run", lambda: bool(self.at_work(sql)) or "no such query")

    def until_idle(self, sql: str) -> None:
        """Waits until no SQL with these words is at work any more."""
        wait_until(f"{sql} to be gone", lambda: not self.at_work(sql) or "it is there")

    @contextmanager
    def held(self, lock: int) -> Iterator[None]:
        """SQL that takes this lock, shared (`models.waiting`), runs until the block ends."""
        with self.connect("dbt") as connection:
            connection.execute("select pg_advisory_lock(%s)", [lock])
            yield

    @contextmanager
    def catalog_held(self) -> Iterator[None]:
        """dbt's documentation is not made before the block ends: its catalog reads comments."""
        with self.connect(SUPERUSER, WAREHOUSE) as connection, connection.transaction():
            connection.execute("lock table pg_catalog.pg_description in access exclusive mode")
            yield

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
