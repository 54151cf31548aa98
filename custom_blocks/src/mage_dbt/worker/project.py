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
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.compilation import Compiler
from dbt.contracts.graph.manifest import Manifest
from dbt.task.runnable import GraphRunnableTask
from dbt_common.events.base_types import EventMsg

from mage_dbt.parse_warnings import ParseWarnings
from mage_dbt.redaction import scrub
from mage_dbt.worker import SHORTCUTS, partial_parse
from mage_dbt.worker.deprecations import counted_by_parsing, not_counted
from mage_dbt.worker.parse_warnings import ParseListener

if TYPE_CHECKING:
    from mage_dbt.worker.chosen import Chosen
    from mage_dbt.worker.patches import Shortcuts

QUIET = ("--quiet", "--no-use-colors", "--no-version-check", "--no-send-anonymous-usage-stats")

Listener = Callable[[EventMsg], None]

IMPORTED_LATE = (
    *("agate", "babel.dates", "dbt_common.clients.agate_helper", "multiprocessing.dummy"),
    *("dbt.adapters.postgres.__about__", "psycopg2.extras", "dbt.task.build", "_strptime"),
    *("mage_dbt.worker.patches", "mage_dbt.worker.postgres_sessions"),
)
"""What is imported only once dbt runs: then it is there already. None of it is missed if absent."""

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
        self.warnings = ParseWarnings()
        """What dbt warned of while it parsed."""
        self.clock: tuple[str, ...] = ()
        """What of the configuration depends on when it was parsed, where that was looked for."""
        self.config: Any = None
        """dbt's own answer to what profile and target are; known once a command has begun."""
        self._compiles = False
        self._shortcuts: Shortcuts | None = None
        self.unwatched: tuple[str, ...] = ()
        """Functions whose look at the clock would not be noticed; see `worker.clock_reads`."""
        self._missing = ""
        if os.environ.get(SHORTCUTS) != "false":
            self._take_shortcuts()
        self._watch_compiler()
        # It grows with the project, and is the same for every run of a commit, whose folder has it.
        dbt.task.runnable.write_manifest = lambda *_: None

    @classmethod
    def parse(cls, arguments: Sequence[str], watch_clock: bool = False) -> Project:
        """Raises NotParsed, with dbt's message."""
        found: Mapping[str, None] = {}
        unwatched: Sequence[str] = ()
        with ExitStack() as stack:
            if watch_clock:
                try:
                    from mage_dbt.worker.clock_reads import clock_reads
                except ImportError as error:
                    unwatched = (str(error),)
                else:
                    found, unwatched = stack.enter_context(clock_reads())
            parsed, warnings = _parsed(arguments)
        if not parsed.success or not isinstance(parsed.result, Manifest):
            raise _not_parsed(parsed)
        project = cls(parsed.result)
        project.clock = tuple(found)
        project.unwatched = tuple(unwatched)
        project.warnings = warnings
        return project

    @property
    def differences(self) -> list[str]:
        """Sentences on where this dbt is not the one we know, and what follows; after `warm`."""
        differing = self._shortcuts.differing if self._shortcuts else []
        sentences = []
        if self._missing:
            sentences.append(
                f"Our shortcuts do not fit this dbt ({self._missing}): runs take longer."
            )
        if differing:
            many = len(differing) > 1
            sentences.append(
                f"{len(differing)} function{'s' if many else ''} of this dbt "
                f"{'are' if many else 'is'} not the one{'s' if many else ''} that our "
                f"shortcut{'s were' if many else ' was'} compared with, so runs take longer: "
                f"{', '.join(differing)}."
            )
        if self.unwatched:
            sentences.append(
                "Whether configuration reads the clock is not known with this dbt, whose functions "
                f"are other ones: {', '.join(self.unwatched)}."
            )
        return sentences

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
        if self._shortcuts:
            self._shortcuts.begin()
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
        if not self._compiles:
            raise _not_parsed(done)
        if self._shortcuts:
            self._shortcuts.learn()

    def _take_shortcuts(self) -> None:
        try:
            from mage_dbt.worker.patches import Shortcuts
        except ImportError as error:
            self._missing = str(error)
            return
        self._shortcuts = Shortcuts(self.manifest)
        self._shortcuts.take()

    def _watch_compiler(self) -> None:
        """Notes that the graph compiles, and dbt's configuration, whoever compiles it."""
        compile_graph, ours = Compiler.compile, self

        def watched(compiler: Any, manifest: Manifest, *arguments: Any, **options: Any) -> Any:
            graph = compile_graph(compiler, manifest, *arguments, **options)
            if manifest is ours.manifest:
                ours.config, ours._compiles = compiler.config, True
            return graph

        Compiler.compile = watched


def _parsed(arguments: Sequence[str]) -> tuple[dbtRunnerResult, ParseWarnings]:
    """dbt's parse, and all that it warns of: of what it takes from a partial parse it does not warn
    again, so it takes all of that, whose warnings are known, or nothing."""
    target: Path | None = None
    if "--target-path" in arguments:
        target = Path(arguments[arguments.index("--target-path") + 1])
    listener = ParseListener()
    parsed = _parse_with(listener, arguments)
    if target and listener.reads_saved and (saved := partial_parse.read_warnings(target)):
        return parsed, saved
    if parsed.success and (listener.reads_saved or listener.reads_some):
        listener = ParseListener()
        parsed = _parse_with(listener, ["--no-partial-parse", *arguments])
    found = listener.found()
    if target and parsed.success:
        partial_parse.write_warnings(target, found)
    return parsed, found


def _parse_with(listener: Listener, arguments: Sequence[str]) -> dbtRunnerResult:
    with counted_by_parsing():
        return dbtRunner(callbacks=[listener]).invoke(["parse", *arguments])


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


def import_late() -> None:
    """Imports what a run would import otherwise, each anew."""
    for name in IMPORTED_LATE:
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
