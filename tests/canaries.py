"""Where secrets are that should be nowhere: in files, tables, answers and on command lines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
from psycopg import sql

from mage_dbt.base.redaction import _shapes
from mage_dbt.launcher.database_roles import SUPERUSER, WORKSPACE
from tests.harness.base import Harness, command_line


def places(
    live: Harness,
    secrets: Mapping[str, str],
    heard: Mapping[str, str],
    allowed: Collection[tuple[str, str]] = (),
) -> list[str]:
    """Each place that holds one of `secrets` (by name), in any shape, and is no place for it.

    `heard` is what the workspace answered, by what was asked. `allowed` are secrets with the file
    that may hold them.
    """
    found = []
    for name, value in secrets.items():
        shapes = [one.encode() for one in {*_shapes(value), quote(quote(value, safe=""))}]

        def holds(content: bytes, shapes: list[bytes] = shapes) -> bool:
            return any(one in content for one in shapes)

        for file, content in _files(live):
            if (name, str(file)) in allowed:
                continue
            # Mage reads its triggers, with their token, from files and remembers the files in its
            # cache; both are for its user alone.
            if name == "mage-trigger-token" and (
                file.name == "triggers.yaml"
                or live.home.mage_data / "dbt-metric" / ".cache" in file.parents
            ):
                assert file.stat().st_mode & 0o077 == 0, file
                continue
            if holds(content):
                found.append(f"{name} in the file {file}")
        for table, text in _rows(live):
            if holds(text.encode()) and (table, name) != (
                "mage.pipeline_schedule",
                "mage-trigger-token",
            ):
                found.append(f"{name} in the table {table}")
        for what, text in heard.items():
            if holds(text.encode()):
                found.append(f"{name} in the answer to {what[:200]}")
        for process in psutil.process_iter():
            if holds(command_line(process).encode()):
                found.append(f"{name} on the command line of {process.pid}")
    return found


def _files(live: Harness) -> Iterator[tuple[Path, bytes]]:
    home = live.home
    if start_log := getattr(live, "start_log", None):
        yield start_log, start_log.read_bytes()
    yield from live.files(home.secrets, home.postgres)


def _rows(live: Harness) -> Iterator[tuple[str, str]]:
    with live.connect(SUPERUSER, WORKSPACE) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables"
            " where schemaname in ('ledger', 'mage', 'queue')"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL("select to_jsonb(one)::text from {} as one")
            for (text,) in connection.execute(query.format(sql.Identifier(schema, table))):
                yield f"{schema}.{table}", re.sub(r'\\"', '"', text) + text
