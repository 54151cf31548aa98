"""The compiled queries of nodes, as a full refresh would run them; nothing is run.

dbt compiles them, in a command that is under way or in one of its own. A command leaves its marks
on the nodes that it compiles: a run that came afterwards would not inject its CTEs. So copies of
the nodes are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

from dbt.adapters.factory import get_adapter
from dbt.compilation import Compiler
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import CompiledNode
from dbt.flags import get_flags
from dbt_common.events.event_manager_client import get_event_manager
from dbt_common.exceptions import DbtRuntimeError

from mage_dbt.dbt.nodes import materialized_as, name_of, reads_of
from mage_dbt.dbt.parsing import not_counted
from mage_dbt.dbt.plan.chosen import selecting
from mage_dbt.dbt.project import Enough, Project
from mage_dbt.dbt.results.recorder import message_of

CONNECTION = "master"
"""dbt's name for the connection of a command, beside those of its nodes."""

TEMPORARY = "pg_temp"
"""PostgreSQL's name for the session's own temporary schema."""

OF_A_QUERY = ("view", "table", "incremental", "materialized_view")
"""Materializations of a relation whose columns are those of the node's query."""

Compiled = tuple[dict[str, str], dict[str, str]]
"""Queries by node id, and why there is none by node id."""


class NoQuery(Exception):
    """A query does not compile; the text says why."""


def compiled_queries(project: Project, arguments: Sequence[str], ids: Iterable[str]) -> Compiled:
    """What these nodes select with `--full-refresh`, with the CTEs of ephemeral models.

    Nodes without a query, such as seeds, have a problem. Within a command of the project's, call
    it from the command's thread, before its nodes run; `arguments` are not needed then.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}, {}
    found: list[Compiled] = []
    problem = within_a_command(project, arguments, lambda: found.append(_compiled(project, wanted)))
    return found[0] if found else ({}, dict.fromkeys(wanted, problem))


def within_a_command(project: Project, arguments: Sequence[str], ask: Callable[[], object]) -> str:
    """Calls `ask` while a dbt command is under way, and returns why it could not.

    It is called at once where one is. Otherwise a command is begun for it that runs no node.
    What `ask` raises is raised here.
    """
    if project.at_work:
        ask()
        return ""
    asked = False
    failed: BaseException | None = None

    def selected(_: Any) -> None:
        nonlocal asked, failed
        asked = True
        try:
            ask()
        except BaseException as error:
            failed = error
        raise Enough

    # `build`, because models can read the name of the command.
    words = ["build", *arguments, "--full-refresh"]
    with not_counted():
        done = project.invoke_selected(words, selected, None, lambda: selecting(lambda *_: set()))
    if failed is not None:
        raise failed
    return "" if asked else message_of(done.exception)


def with_upstream(project: Project, unique_id: str) -> tuple[str, dict[str, str]]:
    """The query of a node that reads no model where it stands, and those of what it reads.

    Its upstream models are read as temporary views, whose names are the keys, in the order in
    which they can be made. So its columns are known although the warehouse has earlier versions of
    these models. Raises NoQuery. Call it while a command is under way.
    """
    nodes = project.manifest.nodes
    ids = _upstream(project.manifest, unique_id)
    names = {up: f"mage_dbt_{number}" for number, up in enumerate(ids)}

    def move(copy: Any) -> None:
        if copy.unique_id in names:
            copy.schema, copy.alias, copy.relation_name = TEMPORARY, names[copy.unique_id], None

    adapter = get_adapter(project.config)
    with _unknown_columns(adapter):
        queries, problems = _compiled(project, [*ids, unique_id], move)
    if problems:
        wrong, why = next(iter(problems.items()))
        raise NoQuery(f"{name_of(nodes[wrong])}: {why}")
    views = {names[up]: query_of_columns(adapter, nodes[up], queries[up]) for up in ids}
    return query_of_columns(adapter, nodes[unique_id], queries[unique_id]), views


def _upstream(manifest: Manifest, unique_id: str) -> list[str]:
    """The models that a node reads, also through others, each after those that it reads itself.

    What is no view or table of a query's stays where it stands, such as a seed.
    """
    found: dict[str, None] = {}

    def visit(node: Any) -> None:
        for up in reads_of(node):
            if up in manifest.nodes and up not in found:
                read = manifest.nodes[up]
                if materialized_as(read) in ("ephemeral", *OF_A_QUERY):
                    visit(read)
                if materialized_as(read) in OF_A_QUERY:
                    found[up] = None

    visit(manifest.nodes[unique_id])
    return list(found)


@contextmanager
def _unknown_columns(adapter: Any) -> Iterator[None]:
    """In this block a model that asks for the columns of a temporary view does not compile: there
    is none yet, and without columns it would be another query."""
    original = adapter.get_columns_in_relation

    def get_columns_in_relation(relation: Any) -> Any:
        if relation.schema == TEMPORARY:
            raise DbtRuntimeError(f"The columns of {relation.identifier} are not known yet.")
        return original(relation)

    adapter.get_columns_in_relation = get_columns_in_relation
    try:
        yield
    finally:
        del adapter.get_columns_in_relation


def query_of_columns(adapter: Any, node: Any, query: str) -> str:
    """A query with the columns of the node's new table: those of its contract, if it has one.

    dbt makes the table with the contract's types, whatever the query's are.
    """
    contract = getattr(node.config, "contract", None)
    if not getattr(contract, "enforced", False):
        return query
    columns = ", ".join(
        f"cast(null as {column.data_type}) as "
        f"{adapter.quote(column.name) if column.quote else column.name}"
        for column in node.columns.values()
    )
    return f"select {columns}"


def _compiled(
    project: Project, ids: Sequence[str], change: Callable[[Any], None] = lambda _: None
) -> Compiled:
    """`change` takes each copy before it is compiled."""
    queries: dict[str, str] = {}
    problems: dict[str, str] = {}
    adapter = get_adapter(project.config)
    compiler = _Compiler(project.config)
    with ExitStack() as stack:
        nodes = stack.enter_context(_copies(project.manifest, ids))
        for copy in nodes.values():
            change(copy)
        stack.enter_context(_full_refresh())
        stack.enter_context(_unheard())
        stack.enter_context(_cache_of_its_own(adapter))
        stack.enter_context(adapter.connection_named(CONNECTION))
        for unique_id in ids:
            node = nodes.get(unique_id)
            if node is None or str(getattr(node, "language", "")) != "sql":
                problems[unique_id] = "It has no query."
                continue
            if str(node.resource_type) == "seed":
                problems[unique_id] = "A seed has no query."
                continue
            try:
                with _reading_only(adapter):
                    compiler.compile_node(node, project.manifest, write=False)
                queries[unique_id] = str(node.compiled_code)
            except Exception as error:  # a model's Jinja may raise anything
                problems[unique_id] = message_of(error)
    return queries, problems


class _Compiler(Compiler):  # type: ignore[misc]
    """dbt's, without the files of the ephemeral models that it compiles along."""

    def _write_node(self, node: Any, split_suffix: str | None = None) -> Any:
        return node


@contextmanager
def _copies(manifest: Manifest, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Copies of these nodes, and of the ephemeral models that they read, stand in the manifest."""
    originals: dict[str, Any] = {}
    waiting = list(ids)
    while waiting:
        unique_id = waiting.pop()
        if unique_id in originals or unique_id not in manifest.nodes:
            continue
        node = originals[unique_id] = manifest.nodes[unique_id]
        waiting += [
            up
            for up in reads_of(node)
            if up in manifest.nodes and manifest.nodes[up].is_ephemeral_model
        ]
    copies = {unique_id: _as_parsed(node) for unique_id, node in originals.items()}
    manifest.nodes.update(copies)
    try:
        yield copies
    finally:
        manifest.nodes.update(originals)


def _as_parsed(node: Any) -> Any:
    """A copy without what an earlier command compiled: dbt would not inject its CTEs again."""
    copy = deepcopy(node)
    if isinstance(copy, CompiledNode):  # a seed has these too, to read only
        copy.compiled, copy.compiled_code, copy._pre_injected_sql = False, None, None
        copy.extra_ctes, copy.extra_ctes_injected = [], False
    return copy


@contextmanager
def _full_refresh() -> Iterator[None]:
    """In this block dbt has `--full-refresh`."""
    flags = get_flags()
    before = getattr(flags, "FULL_REFRESH", None)
    object.__setattr__(flags, "FULL_REFRESH", True)  # dbt's flags are a frozen dataclass
    try:
        yield
    finally:
        object.__setattr__(flags, "FULL_REFRESH", before)


@contextmanager
def _unheard() -> Iterator[None]:
    """What models log in this block is no event of a run, and they say it again when they run."""
    manager = get_event_manager()
    heard = list(manager.callbacks)
    manager.callbacks.clear()
    try:
        with not_counted():
            yield
    finally:
        manager.callbacks[:] = heard


@contextmanager
def _cache_of_its_own(adapter: Any) -> Iterator[None]:
    """What models look up in this block is not remembered: by the time of the run it is old."""
    before = adapter.cache
    adapter.cache = type(before)(log_cache_events=before.log_cache_events)
    try:
        yield
    finally:
        adapter.cache = before


@contextmanager
def _reading_only(adapter: Any) -> Iterator[None]:
    """A transaction in which models read while they compile; PostgreSQL refuses to write there."""
    if adapter.type() != "postgres":
        yield
        return
    connections = adapter.connections
    connections.begin()
    try:
        adapter.execute("set transaction read only")
        yield
    finally:
        connections.rollback_if_open()
