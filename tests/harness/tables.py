"""Tables of a test's own, in schemas that are dropped after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.refresh.postgres import properties
from mage_dbt.warehouse.refresh.postgres.relation import Properties
from mage_dbt.warehouse.session import Session
from tests.harness.database import Database


@dataclass
class Tables:
    """A warehouse as its owner `dbt` sees it."""

    server: Database
    session: Session

    def run(self, *statements: str, role: str = "dbt") -> None:
        with self.server.connect(role, WAREHOUSE) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, sql: str, role: str = "dbt") -> list[Any]:
        with self.server.connect(role, WAREHOUSE) as connection:
            return connection.execute(sql.encode()).fetchall()

    def value(self, sql: str, role: str = "dbt") -> Any:
        return self.rows(sql, role)[0][0]

    def oid(self, relation: str) -> int:
        return int(self.value(f"select '{relation}'::regclass::oid::bigint"))

    def read(self, name: Name) -> Properties:
        found = properties.read(self.session, name)
        assert found is not None
        return found


@contextmanager
def tables(server: Database, *schemas: str) -> Iterator[Tables]:
    """With these schemas, made by dbt. Schemas, publications and event triggers end with the test,
    and so does what dbt was given beside them."""
    connection = psycopg2.connect(server.url("dbt", WAREHOUSE))
    try:
        found = Tables(server, Session(connection))
        found.run(*(f"create schema {schema}" for schema in schemas))
        yield found
    finally:
        connection.close()
        with server.connect(SUPERUSER, WAREHOUSE) as superuser:
            superuser.execute(CLEAR)


CLEAR = """
do $$
declare
    statement text;
begin
    for statement in
        select format('drop event trigger %I', evtname) from pg_event_trigger
        union all
        select format('drop publication %I', pubname) from pg_publication
        union all
        select format('drop schema %I cascade', nspname) from pg_namespace
        where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')
    loop
        execute statement;
    end loop;
end
$$
"""
