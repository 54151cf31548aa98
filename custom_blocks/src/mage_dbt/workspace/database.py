"""The workspace's database for those who look after it: backup, restore, migrations.

Wherever it is: the embedded server, started for the purpose when the workspace is not running; a
server of POSTGRES_HOST; or WORKSPACE_DATABASE_URL.
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

from mage_dbt.database_url import with_schema
from mage_dbt.errors import AlreadyRunning, MachineError
from mage_dbt.home import Home
from mage_dbt.ledger.migrate import migrate
from mage_dbt.settings import Settings
from mage_dbt.workspace import lock
from mage_dbt.workspace.postgres import LOOPBACK, SUPERUSER, Postgres, binaries, prepare_given
from mage_dbt.workspace.progress import Progress
from mage_dbt.workspace.supervisor import Supervisor

SCHEMAS = ("ledger", "line", "mage")
"""What the workspace keeps there: history, who waits for whom, Mage's metadata."""

Counts = dict[str, int]


@dataclass(frozen=True)
class Database:
    """The database, as somebody who may do everything in it."""

    url: str = field(repr=False)
    """With the password."""
    owner_url: str = field(repr=False)
    """For the migrations: the role that owns the ledger, its schema first in the search path."""
    postgres: Postgres | None
    """The workspace's own server, with a role for each purpose; None with a URL of yours."""

    def connect(self, database: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        where = make_conninfo(self.url, dbname=database) if database else self.url
        return psycopg.connect(where, connect_timeout=10, autocommit=True)

    def run(self, program: str, *arguments: str, database: str | None = None) -> None:
        """One of PostgreSQL's programs on this database; the password is not an argument.

        Raises MachineError with its words.
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
            words = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise MachineError(f"PostgreSQL's {program} failed: {words}")

    def bring_up_to_date(self) -> None:
        """Schemas, rights and migrations, as a start does."""
        if self.postgres is not None:
            self.postgres.prepare_workspace()
        else:
            prepare_given(self.url)
            migrate(self.owner_url)

    def require_alone(self) -> None:
        """Raises MachineError naming who else is connected."""
        with self.connect() as connection:
            rows = connection.execute(
                "select distinct coalesce(nullif(application_name, ''), usename)"
                " from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() and backend_type = 'client backend'"
            ).fetchall()
        if rows:
            who = ", ".join(sorted(str(one) for (one,) in rows))
            raise MachineError(
                f"The database is in use by {who}.", "Stop the workspace, every runner, and Mage."
            )


def count(connection: psycopg.Connection[tuple[Any, ...]]) -> Counts:
    """The rows of every table of the workspace's, by its name."""
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
    """The folder of a file that is to be written. Raises MachineError when it is not there."""
    folder = file.absolute().parent
    if not folder.is_dir():
        raise MachineError(f"There is no folder {folder}.")
    return folder


@contextmanager
def opened(settings: Settings, home: Home, alone: bool = False) -> Iterator[Database]:
    """The database while the block runs. `alone` raises when anybody else is using it."""
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
