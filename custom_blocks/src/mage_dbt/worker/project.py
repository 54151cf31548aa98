"""dbt-metric as dbt holds it in one process: parsed once, its graphs compiled once.

Everything that costs more the larger the project is, is done here, before a job is known: a warm
worker's parent does it once and every fork finds it done. What a job then costs depends on the job.
"""

from __future__ import annotations

import errno
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dbt.mp_context
import dbt.task.runnable
import networkx
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.compilation import Compiler, Linker
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.graph import Graph
from dbt.node_types import NodeType
from dbt.task.runnable import GraphRunnableTask
from dbt.version import __version__
from dbt_common.events.base_types import EventMsg

from mage_dbt.redaction import scrub
from mage_dbt.worker.deprecations import counted_by_parsing, not_counted
from mage_dbt.worker.edges import edges_of_tests
from mage_dbt.worker.graph import CompiledGraph

if TYPE_CHECKING:
    from mage_dbt.worker.chosen import Chosen
    from mage_dbt.worker.selector import Selector
    from mage_dbt.worker.shortcuts import Shortcuts

QUIET = ("--quiet", "--no-use-colors", "--no-version-check", "--no-send-anonymous-usage-stats")

TEST_EDGE = "parent_test"
"""The type of the edges that dbt adds for `build`, so that tests come before what is downstream."""

WITHOUT_TESTS = (False, False)

KNOWN = ("1.10.", "1.11.")
"""Versions of dbt that our ways of doing what dbt does were written for and compared with. Another
one does all of it itself: it takes longer, and cannot be wrong."""

Listener = Callable[[EventMsg], None]

IMPORTED_LATE = (
    *("agate", "babel.dates", "dbt_common.clients.agate_helper", "multiprocessing.dummy"),
    *("dbt.adapters.postgres.__about__", "psycopg2.extras", "dbt.task.build", "_strptime"),
    "mage_dbt.worker.postgres_sessions",
)
"""What is imported only once dbt runs: then it is there already. None of it is missed if absent."""

OURS_OF_KNOWN = ("mage_dbt.worker.selector", "mage_dbt.worker.shortcuts")

# dbt asks for locks of the "spawn" context, whose first one starts a process that tracks them; it
# starts no processes itself, so these locks never leave this one.
dbt.mp_context._MP_CONTEXT = multiprocessing.get_context("fork")


SHORTAGES = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO),
        *(errno.EROFS, errno.EAGAIN),
    )
)
"""Of a machine, whatever the project says. An OSError has them."""


class NotParsed(Exception):
    """dbt could not parse; the text is dbt's own."""

    def __init__(self, message: str, by_machine: bool = False) -> None:
        super().__init__(message)
        self.by_machine = by_machine
        """Whether the machine was short of something, and not the project wrong."""


class Project:
    """One parsed manifest, and dbt commands on it. Of each process there is at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._places: dict[str, str] | None = None
        self.read: tuple[str, ...] = ()
        """Folders, from that of dbt_project.yml, in which dbt looks for files; after `warm`."""
        self._graphs: dict[tuple[bool, bool], Graph] = {}
        """By whether it has edges of tests, and whether they are those of dbt's faster way."""
        self._compile = Compiler.compile
        ours = self

        def compile_once(
            compiler: Any, manifest: Any, write: bool = True, add_test_edges: bool = False
        ) -> Graph:
            if manifest is not ours.manifest:
                return ours._compile(compiler, manifest, write, add_test_edges)
            ours.config = compiler.config
            faster = add_test_edges and bool(getattr(get_flags(), "USE_FAST_TEST_EDGES", False))
            wanted = (add_test_edges, faster)
            if wanted not in ours._graphs:
                ours._graphs[wanted] = ours._compiled(compiler, *wanted)
            return ours._graphs[wanted]

        Compiler.compile = compile_once
        self.clock: tuple[str, ...] = ()
        """What of the configuration depends on when it was parsed, where that was looked for."""
        self._known = __version__.startswith(KNOWN)
        self.config: Any = None
        """dbt's own answer to what profile and target are; known once a command has begun."""
        self._selector: Selector | None = None
        self._shortcuts: Shortcuts | None = None
        if self._known:
            # Only then: they take of dbt what another version may not have.
            from mage_dbt.worker.selector import Selector
            from mage_dbt.worker.shortcuts import Shortcuts

            self._selector, self._shortcuts = Selector(manifest), Shortcuts(manifest)
        # It grows with the project, and is the same for every run of a commit, whose folder has it.
        dbt.task.runnable.write_manifest = lambda *_: None

    @classmethod
    def parse(cls, arguments: Sequence[str], watch_clock: bool = False) -> Project:
        """Raises NotParsed, with dbt's message."""
        found: Mapping[str, None] = {}
        with ExitStack() as stack:
            if watch_clock and __version__.startswith(KNOWN):
                from mage_dbt.worker.clock_reads import clock_reads

                found = stack.enter_context(clock_reads())
            stack.enter_context(counted_by_parsing())
            parsed = dbtRunner().invoke(["parse", *arguments])
        if not parsed.success or not isinstance(parsed.result, Manifest):
            raise _not_parsed(parsed)
        project = cls(parsed.result)
        project.clock = tuple(found)
        return project

    def learn_places(self, config: Any) -> None:
        """Where the files of each package lie, from dbt's own configuration; once is enough.

        A local package is a link to a folder of the repository, perhaps outside the project's.
        """
        if self._places is not None:
            return
        self._places = {}
        packages = {one.package_name for one in self.manifest.nodes.values()}
        if packages <= {self.manifest.metadata.project_name}:
            return
        project = Path(config.project_root).resolve()
        for name, package in config.load_dependencies().items():
            self._places[name] = os.path.relpath(Path(package.project_root).resolve(), project)

    def path_of(self, node: Any) -> str:
        """The node's file, from the folder of dbt_project.yml, also when a package has it."""
        place = (self._places or {}).get(node.package_name, ".")
        return os.path.normpath(Path(place, node.original_file_path))

    def invoke(self, words: Sequence[str], listener: Listener | None = None) -> dbtRunnerResult:
        """A dbt command, on this manifest."""
        if self._selector:
            self._selector.begin()
        callbacks = [listener] if listener else []
        with _command_line(words):
            return dbtRunner(manifest=self.manifest, callbacks=callbacks).invoke(list(words))

    def invoke_selected(
        self,
        words: Sequence[str],
        selected: Callable[[Any], None],
        listener: Listener | None,
        chosen: Chosen | None = None,
    ) -> dbtRunnerResult:
        """The same; `selected` is called with dbt's task once it knows its nodes, before it begins.

        With `chosen` these are its nodes. What `selected` raises ends the command and is the
        result's exception.
        """
        selecting = chosen.in_charge if chosen else nullcontext
        with _after(GraphRunnableTask, "_runtime_initialize", selected, selecting):
            return self.invoke(words, listener)

    def warm(self, arguments: Sequence[str]) -> None:
        """Does what any job would have to do first, without a connection to the warehouse.

        Raises NotParsed when no job could be: the graph does not compile, because it has a cycle.
        """
        import_late()

        def enough(task: Any) -> None:
            self.learn_places(task.config)
            self.read = tuple(task.config.all_source_paths)
            raise Enough

        one = next((node for node in self.manifest.nodes.values()), None)
        select = ["--select", f"fqn:{'.'.join(one.fqn)}"] if one else []
        with not_counted():
            done = self.invoke_selected(["build", *arguments, *select], enough, None)
        if not self._graphs:
            raise _not_parsed(done)
        if self._selector and WITHOUT_TESTS in self._graphs:
            self._selector.learn(self._graphs[WITHOUT_TESTS].nodes())
        if self._shortcuts:
            self._shortcuts.learn()

    def _compiled(self, compiler: Any, with_tests: bool, faster: bool) -> Graph:
        """As dbt compiles it, without its summaries and its pickle of the graph: nobody reads them,
        and they take longer than all the rest."""
        if faster or not self._known:
            compiled = self._compile(compiler, self.manifest, False, with_tests)
            return CompiledGraph(compiled.graph)
        if not with_tests:
            linker = _QuickLinker()
            linker.link_graph(self.manifest)
            return CompiledGraph(linker.graph)
        plain = self._graphs.get(WITHOUT_TESTS) or self._compiled(compiler, *WITHOUT_TESTS)
        self._graphs[WITHOUT_TESTS] = plain
        tests, others = {}, set()
        for one, node in self.manifest.nodes.items():
            if node.resource_type == NodeType.Test:
                tests[one] = node.depends_on_nodes
            else:
                others.add(one)
        graph = plain.graph.copy()
        graph.add_edges_from(edges_of_tests(plain.graph, tests, others), edge_type=TEST_EDGE)
        return CompiledGraph(graph)


def _not_parsed(done: dbtRunnerResult) -> NotParsed:
    reason = scrub(str(done.exception or "dbt gave no reason.").strip())
    return NotParsed(reason, by_machine(done.exception))


def by_machine(error: BaseException | None) -> bool:
    """Whether an error of dbt's comes from a machine that is short of memory, room or the like."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORTAGES:
            return True
        error = error.__cause__ or error.__context__
    return False


class _QuickLinker(Linker):  # type: ignore[misc]
    """Looks for the cycle only when there is one: dbt's search begins anew at every node."""

    def find_cycles(self) -> str | None:
        if networkx.is_directed_acyclic_graph(self.graph):
            return None
        found: str | None = super().find_cycles()
        return found


def import_late() -> None:
    """Imports what a run would import otherwise, each anew."""
    for name in (*IMPORTED_LATE, *(OURS_OF_KNOWN if __version__.startswith(KNOWN) else ())):
        with suppress(ImportError):
            importlib.import_module(name)


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
def _after(
    of: type[Any],
    name: str,
    what: Callable[[Any], None],
    meanwhile: Callable[[], AbstractContextManager[None]],
) -> Iterator[None]:
    original = getattr(of, name)

    def both(task: Any) -> None:
        setattr(of, name, original)  # once: `what` may have dbt run other commands meanwhile
        with meanwhile():
            original(task)
        what(task)

    setattr(of, name, both)
    try:
        yield
    finally:
        setattr(of, name, original)
