"""Readers of a table in the warehouse and of the views on it, for tests: see the bench's readers.

They poll while something happens, and keep every error and every answer that is neither all of the
old rows nor all of the new ones. `GUEST` is a role that has nothing but what a test grants it.
"""

from __future__ import annotations

from urllib.parse import quote

from psycopg import sql

from mage_dbt.launcher.database_roles import SUPERUSER, WAREHOUSE
from mage_dbt.launcher.postgres import binaries
from mage_dbt_bench.refresh import readers
from mage_dbt_bench.refresh.readers import Readers, Relation, State, Trouble, Watched, What
from tests.harness.base import Harness
from tests.harness.database import Database

GUEST = "guest"
PASSWORD = "of a guest in a test"

PG_DUMP = binaries() / "pg_dump"


def watched(server: Database, table: str, *views: str) -> Watched:
    """A table of the warehouse and the views on it, each with its schema: `shop.facts`.

    The role GUEST is made when it is missing; grant it the views, and the schemas they are in.
    """
    with server.connect(SUPERUSER, WAREHOUSE) as connection:
        known = connection.execute("select from pg_roles where rolname = %s", (GUEST,)).fetchone()
        if known is None:
            create = sql.SQL("create role {} login password {}")
            connection.execute(create.format(sql.Identifier(GUEST), sql.Literal(PASSWORD)))
        grant = sql.SQL("grant connect on database {} to {}")
        connection.execute(grant.format(sql.Identifier(WAREHOUSE), sql.Identifier(GUEST)))
    return Watched(
        table=_relation(table),
        views=tuple(map(_relation, views)),
        owner=server.url("dbt"),
        guest=f"postgresql://{GUEST}:{quote(PASSWORD)}@127.0.0.1:{server.port}/{WAREHOUSE}",
        pg_dump=PG_DUMP,
    )


def schema_dump(harness: Harness) -> str:
    """`pg_dump --schema-only` of the warehouse, but for the schemas of refreshes."""
    return readers.schema_dump(PG_DUMP, harness.url("dbt"))


def _relation(name: str) -> Relation:
    schema, _, relation = name.partition(".")
    return Relation(schema, relation)


__all__ = ["GUEST", "Readers", "State", "Trouble", "Watched", "What", "schema_dump", "watched"]
