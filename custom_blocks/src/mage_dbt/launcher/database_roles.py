"""The databases of the embedded PostgreSQL, their roles, and what each role may do.

    workspace   schema `mage` (role mage); schemas `ledger` and `queue` (role ledger)
                role runner adds to the ledger, works in `queue`, and may read `mage`
    warehouse   role dbt owns it; role analyst, Mage's notebooks, reads whatever dbt builds

Each function may be called again, and then changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg import sql

from mage_dbt.base.redaction import hide, scrub, secrets_in, shown_url
from mage_dbt.errors import SettingError

SUPERUSER = "postgres"
ROLES = ("mage", "ledger", "runner", "dbt", "analyst")
WORKSPACE = "workspace"
WAREHOUSE = "warehouse"

Connection = psycopg.Connection[tuple[Any, ...]]

# The runner adds to the history in `ledger` and reads it. The tables of yoyo are the owner's alone.
RUNNER_RIGHTS = """
grant usage on schema ledger, queue to runner;
grant select on all tables in schema ledger to runner;
grant select, insert, update, delete on all tables in schema queue to runner;
grant usage on all sequences in schema queue to runner;
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

# Limits of a notebook's session. It may change all but the last: they are for mistakes, such as an
# open cell, whose lock holds up the build that replaces its table.
ANALYST_BOUNDS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "10min",
    "idle_in_transaction_session_timeout": "1min",
    "transaction_timeout": "30min",
    "temp_file_limit": "2GB",
}

ANALYST_CONNECTIONS = 20

# Large objects lie in no schema, so no right on a schema keeps a reader from making them.
MAKES_LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")


def create_database(
    connection: Connection,
    database: str,
    owner: str,
    guests: Iterable[str],
    password_of: Callable[[str], str],
) -> None:
    """Creates all roles and one database. Its `guests` may connect, and nobody else."""
    for role in ROLES:
        if not _exists(connection, "pg_roles", "rolname", role):
            connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        set_password(connection, role, password_of(role))
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
    if not _exists(connection, "pg_database", "datname", database):
        connection.execute(sql.SQL("create database {database} owner {owner}").format(**names))
    connection.execute(sql.SQL("revoke all on database {database} from public").format(**names))
    # A role has business in its own database alone.
    connection.execute("revoke all on database postgres, template1 from public")
    for guest in guests:
        connection.execute(
            sql.SQL("grant connect, temporary on database {database} to {guest}").format(
                **names, guest=sql.Identifier(guest)
            )
        )


def create_workspace_schemas(connection: Connection) -> None:
    """Creates the schemas of Mage and the ledger; the superuser's connection to `workspace`."""
    for role, schema in (("mage", "mage"), ("ledger", "ledger")):
        names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
        connection.execute(
            sql.SQL("create schema if not exists {schema} authorization {role}").format(**names)
        )
    for role, schema in (("mage", "mage"), ("ledger", "ledger"), ("runner", "ledger")):
        names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
        connection.execute(
            sql.SQL("alter role {role} in database workspace set search_path = {schema}").format(
                **names
            )
        )
    # An early workspace owned its ledger as the role that writes it.
    connection.execute("reassign owned by runner to ledger")
    connection.execute("grant usage on schema mage to runner")
    connection.execute("grant select on all tables in schema mage to runner")
    connection.execute(
        "alter default privileges for role mage in schema mage grant select on tables to runner"
    )


def grant_runner(connection: Connection) -> None:
    """Grants the runner its rights on the ledger's tables; the ledger's owner's connection."""
    connection.execute(RUNNER_RIGHTS)


def limit_analyst(connection: Connection) -> None:
    """Lets notebooks read what dbt builds, within limits; the superuser's, to `warehouse`."""
    for what in ("usage on schemas", "select on tables"):
        connection.execute(
            f"alter default privileges for role dbt grant {what} to analyst".encode()
        )
    connection.execute("revoke temporary on database warehouse from analyst")
    for function in MAKES_LARGE_OBJECTS:
        connection.execute(f"revoke execute on function {function} from public".encode())
        connection.execute(f"grant execute on function {function} to dbt".encode())
    connection.execute(f"alter role analyst connection limit {ANALYST_CONNECTIONS}".encode())
    for name, value in ANALYST_BOUNDS.items():
        connection.execute(
            sql.SQL("alter role analyst in database warehouse set {} = {}").format(
                sql.Identifier(name), sql.Literal(value)
            )
        )


def set_password(connection: Connection, role: str, password: str) -> None:
    """Sets a password. It is hashed here: neither the server nor its log gets the password."""
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier))
    )


def prepare_given(url: str) -> None:
    """Creates the schemas in the database of WORKSPACE_DATABASE_URL.

    Raises SettingError with the server's message when it cannot be used.
    """
    try:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            schemas = ["mage", "ledger", "queue"]
            row = connection.execute("select to_regclass('queue.entry') is null").fetchone()
            if row and row[0]:
                schemas.append("line")  # migration 0003 fills it, 0008 drops it
            for schema in schemas:
                # Asked first: `if not exists` needs the right to create even where it exists.
                if not _exists(connection, "pg_namespace", "nspname", schema):
                    connection.execute(
                        sql.SQL("create schema if not exists {}").format(sql.Identifier(schema))
                    )
    except psycopg.Error as error:
        hide(*secrets_in(url))
        raise SettingError(
            f"WORKSPACE_DATABASE_URL ({shown_url(url)}) cannot be used: {scrub(str(error))}"
        ) from None


def _exists(connection: Connection, table: str, column: str, name: str) -> bool:
    query = sql.SQL("select 1 from {} where {} = {}").format(
        sql.Identifier(table), sql.Identifier(column), sql.Literal(name)
    )
    return connection.execute(query).fetchone() is not None
