"""Rows that failing tests have found, read after dbt's command and kept with the run.

They tell what is wrong better than their number does. Nothing of it changes what became of the run:
what cannot be read in time is left out, and says why.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
from dbt.contracts.graph.manifest import Manifest
from dbt_common.exceptions import DbtBaseException

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.connection import Interrupted, let_interrupts_through, open_connection
from mage_dbt.dbt.nodes import generic_test_of, name_of
from mage_dbt.dbt.results.hidden_columns import HiddenColumns
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.model import codec
from mage_dbt.model.explanation import FailingRow, FailingRows
from mage_dbt.model.run import EventKind
from mage_dbt.warehouse.failing_rows import FoundRows, OutOfTime, RowReader, unreadable
from mage_dbt.warehouse.session import Session, words

MOST_TESTS = 20
"""Of one run, the first that failed."""

SECONDS = 20.0
"""For all tests of a run together."""

SECONDS_OF_ONE = 5.0

CONNECT_SECONDS = 5

LONGEST_VALUE = 200
"""Characters that are shown."""

MOST_COLUMNS = 50

FOUND = ("fail", "warn")
"""Statuses of a test that found rows."""

EVERY_ROW = "count(*)"
"""dbt's default of `fail_calc`: a test's number is that of its rows."""

ONLY_COLUMN = re.compile(r"\A\s*select\s+(?P<column>\S+|\"[^\"]+\")\s+from\s", re.IGNORECASE)
"""How dbt's `not_null` begins when failures are not stored: only with the column that is NULL."""


class RowsOfTests:
    """Reads the rows of one run's failing tests and records them."""

    def __init__(
        self, manifest: Manifest, credentials: Any, recorder: Recorder, shown: int, role: str
    ) -> None:
        """`shown` is how many rows of a test are kept, `role` what they are read as."""
        self._manifest = manifest
        self._credentials = credentials
        self._recorder = recorder
        self._shown = shown
        self._role = role

    def record(self, results: Iterable[Any]) -> bool:
        """Reads and records them; dbt's command must have ended. Raises nothing.

        False when it was interrupted.
        """
        failed = [result for result in results if _found_rows(result)][:MOST_TESTS]
        if not failed:
            return True
        try:
            let_interrupts_through()
            self._record(failed)
        except (Interrupted, KeyboardInterrupt):
            return False
        except (psycopg2.Error, DbtBaseException) as error:
            self._recorder.warn(f"Rows of failing tests could not be read: {_words(error)}")
        except Exception:
            traceback.print_exc()
        return True

    def _record(self, failed: Iterable[Any]) -> None:
        credentials = replace(self._credentials, connect_timeout=CONNECT_SECONDS, retries=0)
        with closing(open_connection(credentials)) as connection:
            reader = RowReader(Session(connection), self._role, SECONDS, SECONDS_OF_ONE)
            for result in failed:
                found = FoundRows((), (), (), ())
                try:
                    found = self._read(reader, result.node)
                except OutOfTime:
                    note = f"Not read: all tests of a run together have {SECONDS:.0f} seconds."
                except psycopg2.Error as error:
                    if unreadable(error):
                        raise
                    note = f"Not read: {_words(error)}"
                else:
                    note = _note(found)
                self._write(result, found, note)

    def _read(self, reader: RowReader, test: Any) -> FoundRows:
        hidden = HiddenColumns(self._manifest, test)
        return reader.read(query_of(test), test.unique_id, self._shown, hidden.among)

    def _write(self, result: Any, found: FoundRows, note: str) -> None:
        node = result.node
        counted = str(node.config.fail_calc).replace(" ", "").lower() == EVERY_ROW
        columns = found.columns[:MOST_COLUMNS]
        rows = FailingRows(
            node=node.unique_id,
            columns=columns,
            hidden=tuple(name for name in found.hidden if name in columns),
            rows=tuple(FailingRow(_shown(row[:MOST_COLUMNS])) for row in found.rows),
            total=result.failures if counted else None,
            note=note,
        )
        self._recorder.write(
            EventKind.FAILING_ROWS,
            **codec.plain(rows),
            name=name_of(node),
            digests=list(found.digests),
        )


def query_of(test: Any) -> str:
    """The test's compiled query, which finds the rows.

    dbt's `not_null` selects the column alone, which is NULL in each row; as it does for stored
    failures, all columns are selected here.
    """
    query = str(test.compiled_code)
    if generic_test_of(test) != "not_null":
        return query
    found = ONLY_COLUMN.match(query)
    if found is None or found["column"] != str(test.column_name):
        return query
    return query[: found.start("column")] + "*" + query[found.end("column") :]


def _found_rows(result: Any) -> bool:
    node = result.node
    return (
        str(node.resource_type) == "test"
        and str(result.status) in FOUND
        and bool(getattr(node, "compiled_code", None))
    )


def _note(found: FoundRows) -> str:
    if not found.rows:
        return "The test finds no rows any more."
    more = len(found.columns) - MOST_COLUMNS
    return f"{more} more columns are not shown." if more > 0 else ""


def _shown(row: Iterable[str | None]) -> tuple[str | None, ...]:
    return tuple(None if value is None else _cut(scrub(value)) for value in row)


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 1]}…"


def _words(error: Exception) -> str:
    text = words(error) if isinstance(error, psycopg2.Error) else str(error).strip()
    return scrub(text)
