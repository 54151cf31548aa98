"""A PostgreSQL of the tests' own, and databases in it that each file of tests finds as new.

A server is started once for each test process. What a workspace finds in a new one, its two
databases, is made once too and kept as templates; every file of tests gets copies of them.
A test that stops the server, changes passwords or looks at all of its sessions starts its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from mage_dbt.home import Home
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE, WORKSPACE
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.launcher.supervisor import Supervisor
from tests.harness.base import Harness
from tests.harness.ports import free_ports
from tests.harness.waiting import progress

OWNERS = {WORKSPACE: SUPERUSER, WAREHOUSE: "dbt"}


def template_of(database: str) -> str:
    return f"{database}_template"


class Database(Harness):
    """A running server with the workspace's roles."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.logs.mkdir(parents=True, exist_ok=True)
        self.port = free_ports(1)[0]
        self.postgres = Postgres(self.home, self.port)
        self.supervisor = Supervisor(self.home, progress())

    def start(self, durable: bool = True) -> None:
        """Starts the server; there is nothing in it yet. One that nobody kills need not wait for
        the disk."""
        self.postgres.prepare()
        if not durable:
            with (self.home.postgres / "postgresql.conf").open("a") as file:
                file.write("fsync = off\n")
        self.supervisor.start(self.postgres.program())
        self.supervisor.wait("postgres")

    def prepare(self) -> None:
        """Makes what a workspace finds: its databases, schemas and roles."""
        self.postgres.prepare_workspace()
        self.postgres.prepare_warehouse()

    def stop(self) -> None:
        self.supervisor.stop([["postgres"]])

    def keep_as_templates(self) -> None:
        """From now on `renew` makes copies of what the databases hold now."""
        for name in OWNERS:
            self.admin("alter database {} rename to {}", name, template_of(name))

    def renew(self) -> None:
        """Both databases are as they were when they became templates, whoever uses them now."""
        for name, owner in OWNERS.items():
            self.admin("drop database if exists {} with (force)", name)
            self.admin("create database {} template {} owner {}", name, template_of(name), owner)
        self.prepare()  # a copy lacks what the server keeps by the database's name

    def share_secrets(self, home: Home) -> None:
        """Puts the roles' passwords where a workspace in that home has them."""
        if home == self.home:
            return
        home.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self.home.secrets.glob("postgres-*"):
            shutil.copy2(file, home.secrets / file.name)

    def admin(self, statement: str, *names: str) -> None:
        """A statement of the superuser's outside of both databases; `{}` are identifiers."""
        with self.connect(SUPERUSER, "postgres") as connection:
            connection.execute(sql.SQL(statement).format(*(sql.Identifier(one) for one in names)))

    @property
    def postgres_port(self) -> int:
        return self.port


@contextmanager
def started(root: Path, durable: bool = True) -> Iterator[Database]:
    """A server with nothing in it, for as long as the block lasts."""
    found = Database(root)
    found.start(durable)
    try:
        yield found
    finally:
        found.stop()
