"""dbt-metric as dbt holds it in one process: parsed once, its graphs compiled once.

Everything that costs more the larger the project is, is done here, before a job is known: a warm
worker's parent does it once and every fork finds it done. What a job then costs depends on the job.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import dbt.mp_context
import dbt.task.runnable
from dbt.adapters.base import BaseAdapter
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.compilation import Compiler
from dbt.contracts.graph.manifest import Manifest
from dbt.graph import Graph
from dbt.task.runnable import GraphRunnableTask
from dbt_common.events.base_types import EventMsg

from mage_dbt.redaction import scrub
from mage_dbt.worker.graph import CompiledGraph

QUIET = ("--quiet", "--no-use-colors", "--no-version-check", "--no-send-anonymous-usage-stats")

TEST_EDGE = "parent_test"
"""The type of the edges that dbt adds for `build`, so that tests come before what is downstream."""

Listener = Callable[[EventMsg], None]

IMPORTED_LATE = (
    *("agate", "babel.dates", "dbt_common.clients.agate_helper", "multiprocessing.dummy"),
    *("dbt.adapters.postgres.__about__", "psycopg2.extras"),
)
"""What dbt imports only once it runs: then it is there already. None of it is missed if absent."""

# dbt asks for locks of the "spawn" context, whose first one starts a process that tracks them; it
# starts no processes itself, so these locks never leave this one.
dbt.mp_context._MP_CONTEXT = multiprocessing.get_context("fork")


class NotParsed(Exception):
    """dbt could not parse; the text is dbt's own."""


class Project:
    """One parsed manifest, and dbt commands on it. Of each process there is at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._graphs: dict[bool, Graph] = {}
        self._compile = Compiler.compile
        ours = self

        def compile_once(
            compiler: Any, manifest: Any, write: bool = True, add_test_edges: bool = False
        ) -> Graph:
            if manifest is not ours.manifest:
                return ours._compile(compiler, manifest, write, add_test_edges)
            if add_test_edges not in ours._graphs:
                # write=False: nobody reads the pickled graph, which is as large as the project.
                compiled = ours._compile(compiler, manifest, False, add_test_edges)
                ours._graphs[add_test_edges] = CompiledGraph(compiled.graph)
            return ours._graphs[add_test_edges]

        Compiler.compile = compile_once
        _look_at_each_schema_once()
        # It grows with the project, and is the same for every run of a commit, whose folder has it.
        dbt.task.runnable.write_manifest = lambda *_: None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Project:
        """Raises NotParsed, with dbt's message."""
        parsed = dbtRunner().invoke(["parse", *arguments])
        if not parsed.success or not isinstance(parsed.result, Manifest):
            raise NotParsed(scrub(str(parsed.exception or "dbt gave no reason.").strip()))
        return cls(parsed.result)

    def invoke(self, words: Sequence[str], listener: Listener | None = None) -> dbtRunnerResult:
        """A dbt command, on this manifest."""
        callbacks = [listener] if listener else []
        with _command_line(words):
            return dbtRunner(manifest=self.manifest, callbacks=callbacks).invoke(list(words))

    def invoke_selected(
        self, words: Sequence[str], selected: Callable[[Any], None], listener: Listener | None
    ) -> dbtRunnerResult:
        """The same; `selected` is called with dbt's task once it knows its nodes, before it begins.

        What `selected` raises ends the command and is the result's exception.
        """
        with _after(GraphRunnableTask, "_runtime_initialize", selected):
            return self.invoke(words, listener)

    def warm(self, arguments: Sequence[str]) -> None:
        """Does what any job would have to do first, without a connection to the warehouse."""
        for name in IMPORTED_LATE:
            with suppress(ImportError):
                importlib.import_module(name)

        def enough(_: Any) -> None:
            raise Enough

        done = self.invoke_selected(["build", *arguments], enough, None)
        if not isinstance(done.exception, Enough):
            return  # dbt's reason is told by the jobs, which will meet it too
        graph = self._graphs[True].graph.copy()
        edges = [
            (one, other) for one, other, kind in graph.edges(data="edge_type") if kind == TEST_EDGE
        ]
        graph.remove_edges_from(edges)
        self._graphs[False] = CompiledGraph(graph)


def _look_at_each_schema_once() -> None:
    """dbt makes a relation of every node of the project to learn which schemas there are.

    What it keeps of each is database, schema and how they are quoted: one node of each will do.
    """
    original = BaseAdapter._get_cache_schemas

    def of_each_schema(adapter: Any, nodes: Iterable[Any]) -> Any:
        if adapter.type() != "postgres":
            return original(adapter, nodes)
        one_of_each = {(one.database, one.schema, str(one.quoting_dict)): one for one in nodes}
        return original(adapter, list(one_of_each.values()))

    BaseAdapter._get_cache_schemas = of_each_schema


class Enough(Exception):
    """Ends a dbt command once its nodes are selected."""


@contextmanager
def _command_line(words: Sequence[str]) -> Iterator[None]:
    """dbt writes `sys.argv` into its results as the command it was given; models can read it."""
    before = sys.argv
    sys.argv = ["dbt", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _after(of: type[Any], name: str, what: Callable[[Any], None]) -> Iterator[None]:
    original = getattr(of, name)

    def both(task: Any) -> None:
        setattr(of, name, original)  # once: `what` may have dbt run other commands meanwhile
        original(task)
        what(task)

    setattr(of, name, both)
    try:
        yield
    finally:
        setattr(of, name, original)
