"""The workspace's database as backup, restore and migrations need it.

It is on the embedded server, which is started when the workspace is not running; on the server of
POSTGRES_HOST; or the database of WORKSPACE_DATABASE_URL.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mage_dbt.base.database_url import with_schema
from mage_dbt.errors import AlreadyRunning, MachineError
from mage_dbt.home import Home
from mage_dbt.launcher import lock
from mage_dbt.launcher.database_roles import SUPERUSER, prepare_given
from mage_dbt.launcher.postgres import LOOPBACK, Postgres, binaries
from mage_dbt.launcher.progress import Progress
from mage_dbt.launcher.supervisor import Supervisor
from mage_dbt.ledger.migrate import migrate
from mage_dbt.settings import Settings

SCHEMAS = ("ledger", "line", "mage", "queue")
"""What the workspace keeps there: history, Mage's metadata, and the queue, which was `line` before
migration 0008."""

Counts = dict[str, int]


@dataclass(frozen=True)
class Database:
    """The database, for a role that may do everything in it."""

    url: str = field(repr=False)
    """With the password."""
    owner_url: str = field(repr=False)
    """For migrations: the role that owns the ledger, with its schema in the search path."""
    postgres: Postgres | None
    """The workspace's own server, with several roles; None with a database of yours."""

    def connect(self, database: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        where = make_conninfo(self.url, dbname=database) if database else self.url
        return psycopg.connect(where, connect_timeout=10, autocommit=True)

    def run(self, program: str, *arguments: str, database: str | None = None) -> None:
        """Runs one of PostgreSQL's programs on this database; the password is no argument.

        Raises MachineError with the end of the program's message.
        """
        given = conninfo_to_dict(self.url)
        password = str(given.pop("password", "") or "")
        if database:
            given["dbname"] = database
        done = subprocess.run(
            [str(binaries() / program), f"--dbname={make_conninfo('', **given)}", *arguments],
            env={**os.environ, "PGPASSWORD": password, "PGAPPNAME": f"scripts/{program}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            message = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise MachineError(f"PostgreSQL's {program} failed: {message}")

    def bring_up_to_date(self) -> None:
        """Creates schemas, grants rights and applies migrations, as a start does."""
        if self.postgres is not None:
            self.postgres.prepare_workspace()
        else:
            prepare_given(self.url)
            migrate(self.owner_url)

    def require_alone(self) -> None:
        """Raises MachineError with the names of others who are connected."""
        with self.connect() as connection:
            rows = connection.execute(
                "select distinct coalesce(nullif(application_name, ''), usename)"
                " from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() and backend_type = 'client backend'"
            ).fetchall()
        if rows:
            who = ", ".join(sorted(str(name) for (name,) in rows))
            raise MachineError(
                f"The database is in use by {who}.", "Stop the workspace, every runner, and Mage."
            )


def count(connection: psycopg.Connection[tuple[Any, ...]]) -> Counts:
    """The number of rows of each table of the workspace, by its name."""
    tables = connection.execute(
        "select schemaname, tablename from pg_tables where schemaname = any(%s) order by 1, 2",
        [list(SCHEMAS)],
    ).fetchall()
    counts = {}
    for schema, table in tables:
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))
        row = connection.execute(query).fetchone()
        counts[f"{schema}.{table}"] = int(row[0]) if row else 0
    return counts


def folder_for(file: Path) -> Path:
    """The folder of a file to write. Raises MachineError when there is no such folder."""
    folder = file.absolute().parent
    if not folder.is_dir():
        raise MachineError(f"There is no folder {folder}.")
    return folder


@contextmanager
def opened(settings: Settings, home: Home, alone: bool = False) -> Iterator[Database]:
    """The database while the block runs.

    With `alone` it raises MachineError when anybody else is connected.
    """
    if url := settings.workspace_database_url:
        found = Database(url, with_schema(url, "ledger"), None)
        if alone:
            found.require_alone()
        yield found
        return
    postgres = Postgres(home, settings.postgres_port, settings.postgres_host)
    found = Database(postgres.url(SUPERUSER), postgres.url("ledger"), postgres)
    if settings.postgres_host != LOOPBACK or (not alone and _answers(found)):
        if alone:
            found.require_alone()
        yield found
        return
    home.logs.mkdir(parents=True, exist_ok=True)
    try:
        holding = lock.hold(home, "no address: it looks after the database")
    except AlreadyRunning as error:
        raise MachineError(error.message, "Stop it first.") from None
    with holding:
        supervisor = Supervisor(home, Progress(psutil.Process().create_time()))
        postgres.prepare()
        supervisor.start(postgres.program())
        try:
            supervisor.wait("postgres")
            postgres.prepare_database()
            yield found
        finally:
            supervisor.stop([["postgres"]])


def _answers(database: Database) -> bool:
    try:
        database.connect().close()
    except psycopg.OperationalError:
        return False
    return True
