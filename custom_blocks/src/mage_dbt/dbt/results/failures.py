"""Why a node failed or was skipped, and what repairs it.

Which relation an error is about is decided by the graph that runs, never by a statement's text: the
server says that a table is missing, and which.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dbt_common.exceptions import DbtDatabaseError

from mage_dbt.base.redaction import scrub
from mage_dbt.base.tool_command import tool_command
from mage_dbt.dbt.nodes import full_refresh, name_of
from mage_dbt.model.reason import BY_REFRESH, HOOK_OF
from mage_dbt.model.run import PASSED
from mage_dbt.warehouse import Warehouse
from mage_dbt.warehouse.names import Folding

NO_FAILURE = PASSED | {"skipped"}

TESTS = ("test.", "unit_test.")

FILLED = ("seed", "incremental")
"""Materializations that fill the table that is there, whatever columns it has."""

UNDEFINED_TABLE = "42P01"
"""PostgreSQL's SQLSTATE (Appendix A of its manual)."""

OTHER_COLUMNS = ("42703", "42804")
"""Its SQLSTATEs of a column that is not there, and of one that has another type."""

MOST_ERRORS = 100
"""Of one node; a microbatch model meets one with each failed batch."""

COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
"""dbt's own, before a statement (`query-comment`)."""

LONGEST_HOOK = 200
"""Characters of a hook's statement that are shown."""

QUOTED = re.compile(r'["«»„“”]\s?(.+?)\s?["«»„“”]')
"""A name in the server's sentence, in the quotes of its language."""


class Causes:
    """What kept the skipped nodes of one run from running; nodes are unique ids.

    dbt skips a node after those that it reads. So each node asks only its neighbours: those that
    were skipped before it know their cause already.
    """

    def __init__(self, reads: Callable[[str], Sequence[str]]) -> None:
        """`reads` gives what a node reads; of a test, what it tests."""
        self._reads = reads
        self._passed: set[str] = set()
        self._failed: dict[str, str] = {}
        """What failed, by node: the node itself, or a test on it."""
        self._known: dict[str, str] = {}
        self._failed_hook = ""

    @property
    def any_failed(self) -> bool:
        return bool(self._failed or self._failed_hook)

    def finished(self, node: str, status: str) -> None:
        """Records a node's final status."""
        if status in PASSED:
            self._passed.add(node)
        elif status not in NO_FAILURE:
            self._failed[node] = node
            if node.startswith(TESTS):
                for tested in self._reads(node):
                    self._failed.setdefault(tested, node)
            elif node.startswith("operation."):
                self._failed_hook = self._failed_hook or node

    def of(self, node: str) -> str:
        """The failure nearest to a skipped node; empty when there is none.

        That is a test of its own, a node it reads, or a test on one. Else it is a hook at the
        start, after which dbt may skip everything.
        """
        if node in self._failed:
            return self._failed[node]
        came_from = {node: ""}
        waiting = deque([node])
        while waiting:
            current = waiting.popleft()
            reads = self._reads(current)
            if cause := _first(self._failed, reads) or _first(self._known, reads):
                while current:
                    self._known[current] = cause
                    current = came_from[current]
                return cause
            for up in reads:
                # What has passed kept nothing from running, nor did what it reads.
                if up not in came_from and up not in self._passed:
                    came_from[up] = current
                    waiting.append(up)
        return self._failed_hook


def _first(causes: dict[str, str], nodes: Iterable[str]) -> str:
    return next((causes[node] for node in nodes if node in causes), "")


@dataclass(frozen=True)
class ServerError:
    """One error of the warehouse. dbt keeps only its text, which may be in any language."""

    sqlstate: str
    primary: str
    """Its message, without the statement's line."""
    hook: str = ""
    """The statement, where it is that of a hook."""


class _Errors:
    """The errors that the statements of each node met, oldest first. Many threads add to it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._met: dict[str, list[ServerError]] = {}

    def add(self, node: str, error: ServerError) -> None:
        with self._guard:
            met = self._met.setdefault(node, [])
            met.append(error)
            del met[MOST_ERRORS:-1]

    def of(self, node: str) -> tuple[ServerError, ...]:
        with self._guard:
            return tuple(self._met.get(node, ()))


_errors = _Errors()
"""Of this process, which has one run."""


def note_error(node: str, sqlstate: str | None, primary: str | None, hook: str = "") -> None:
    """Records an error that a statement of the node met; `node` is a unique id, `hook` the
    statement where it is that of a hook."""
    _errors.add(node, ServerError(sqlstate or "", primary or "", hook))


def hook_of(node: Any, error: ServerError | None) -> str:
    """A sentence on the hook that met the error; empty where the node's own SQL did."""
    if error is None or not error.hook:
        return ""
    project = str(node.resource_type) == "operation"
    whose = f"the project {node.package_name}" if project else name_of(node)
    # Whole, as a part of a secret would be known to nobody.
    statement = " ".join(scrub(COMMENT.sub("", error.hook)).split())
    shown = statement[:LONGEST_HOOK] + ("…" if len(statement) > LONGEST_HOOK else "")
    return f"{HOOK_OF}{whose}: {shown}"


def error_of(node: str, message: str) -> ServerError | None:
    """The node's last error that `message`, which is dbt's on its result, quotes.

    An error that the node went on after is not quoted, so it is not the reason of its failure.
    """
    quoted = _plain(message)
    for error in reversed(_errors.of(node)):
        if error.primary and _plain(error.primary) in quoted:
            return error
    return None


def _plain(text: str) -> str:
    """dbt indents an error's lines, and takes secrets out of some texts."""
    return " ".join(scrub(text).split())


class Relations:
    """The relations of one project, by schema and name as the server writes them."""

    def __init__(self, nodes: Iterable[Any], sources: Iterable[Any], folding: Folding) -> None:
        """`nodes` are those that dbt builds. A relation that is also a source counts as built."""
        self._known: dict[str, Any] = {}
        for node in (*nodes, *sources):
            rendered = getattr(node, "relation_name", None)
            if rendered:
                try:
                    name = folding.name(rendered)
                except ValueError:  # an adapter that names relations in some other way
                    continue
                self._known.setdefault(f"{name.schema}.{name.name}", node)

    def remedy(self, error: ServerError | None) -> str:
        """What to do about a missing relation of the project; empty for any other error.

        It is also empty for a name without a schema: the graph does not tell where the server has
        looked for it.
        """
        if error is None or error.sqlstate != UNDEFINED_TABLE:
            return ""
        found = QUOTED.search(error.primary)
        node = self._known.get(found[1]) if found else None
        if found is None or node is None:
            return ""
        kind = str(node.resource_type)
        if kind == "source":
            what = f"{found[1]} is the source {node.source_name}.{node.name}"
            loader = (
                f"{node.loader} does, by {node.original_file_path}"
                if node.loader
                else f"who does, {node.original_file_path} does not say (`loader`)"
            )
            return f"{what}, and not in the warehouse. dbt loads no sources: {loader}."
        name = name_of(node)
        what = f"{found[1]} is the {kind} {name}, and not in the warehouse."
        if kind == "seed":
            return (
                f"{what} Run the seeds first: {tool_command('run')} command --command seed "
                "(in Mage: dbt_command with the command seed)."
            )
        return (
            f"{what} Build it first, with what it reads: {tool_command('run')} --select +{name} "
            f"(in Mage: single_model_rerun with the model {name} and with_upstream)."
        )


def remedy_of(node: Any, status: str, message: str, error: ServerError | None) -> str:
    """What repairs a node's error when its columns may have changed; empty otherwise."""
    config = getattr(node, "config", None)
    filled = str(getattr(config, "materialized", "")) in FILLED
    if status != "error" or not filled or full_refresh(node):
        return ""
    if "full_refresh" in message:
        return ""  # dbt says it itself
    # Of an adapter without SQLSTATEs only the words tell.
    coded = error if error and error.sqlstate else None
    if not (_of_columns(node, coded) if coded else "column" in message):
        return ""
    return f"If the columns of {name_of(node)} changed, {BY_REFRESH}"


def _of_columns(node: Any, error: ServerError) -> bool:
    """Whether an error may be about the columns of the table that the node fills.

    PostgreSQL quotes a column's name, and that of the table to write to. It does not quote a column
    of which the query itself says to which table it belongs: that is another table.
    """
    names = QUOTED.findall(error.primary) if error.sqlstate in OTHER_COLUMNS else []
    return len(names) == 1 or getattr(node, "alias", name_of(node)) in names


def kept_definitions(warehouse: Warehouse, results: Iterable[Any]) -> Iterator[str]:
    """Sentences on materialized views that dbt only refreshed though their SQL has changed."""
    for result in results:
        node = result.node
        if str(getattr(node.config, "materialized", "")) != "materialized_view":
            continue
        if str(result.status) != "success" or full_refresh(node) or not node.relation_name:
            continue
        with suppress(DbtDatabaseError):  # the view was built; only this sentence is missing
            if warehouse.keeps_definition(node.relation_name, node.compiled_code or ""):
                yield (
                    f"{name_of(node)} keeps its old definition: dbt refreshed its rows only. "
                    "A full refresh builds it anew."
                )
