"""When PostgreSQL began to create a relation: read from the server's own log.

The warehouse's role logs every DDL statement as it begins (`log_statement = ddl`), with the
server's clock to the millisecond. The server runs on this machine, so its clock is ours, and what
is measured is the same for every contender, whatever it says of itself.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

BEGIN = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC ")


class SqlLog:
    """The log from a moment on; `mark` before each request."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begin = 0

    def mark(self) -> None:
        """Only what is logged from now on counts."""
        self._begin = self._file.stat().st_size

    def created(self, relation: str) -> float | None:
        """When the first CREATE TABLE of `relation` since the mark began (seconds since the epoch),
        or None. dbt-postgres builds `relation` as `<relation>__dbt_tmp`, and renames it."""
        with self._file.open("rb") as file:
            file.seek(self._begin)
            return first_create(file.read(), relation)


def first_create(log: bytes, relation: str) -> float | None:
    """See `SqlLog.created`; `log` is the text."""
    name = re.escape(relation.encode())
    create = re.compile(
        rb'\bcreate\s+table\s+(?:"?\w+"?\.)*"?' + name + rb'(?:__dbt_tmp\d*)?"?\s', re.IGNORECASE
    )
    found = create.search(log)
    if found is None:
        return None
    at = None
    for line in log[: found.end()].splitlines():
        if begin := BEGIN.match(line):
            at = begin[1]
    if at is None:
        return None
    moment = datetime.strptime(at.decode(), "%Y-%m-%d %H:%M:%S.%f")
    return moment.replace(tzinfo=UTC).timestamp()
