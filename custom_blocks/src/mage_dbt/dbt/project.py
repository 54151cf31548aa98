"""dbt-metric as dbt holds it in one process: parsed once, its graphs compiled once.

Whatever costs more with a larger project is done here, before a job is known. A fork server does it
once, and every fork finds it done. What a job then costs depends on the job.
"""

from __future__ import annotations

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
from dbt.adapters.factory import get_adapter_package_names
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.compilation import Compiler
from dbt.contracts.graph.manifest import Manifest
from dbt.task.runnable import GraphRunnableTask

from mage_dbt.commits.graph_key import shortcuts_wanted
from mage_dbt.dbt.parsing import Listener, NotParsed, not_counted, parse
from mage_dbt.model.parse_warnings import ParseWarnings

if TYPE_CHECKING:
    from mage_dbt.dbt.patches import Shortcuts

QUIET = ("--quiet", "--no-use-colors", "--no-version-check", "--no-send-anonymous-usage-stats")

Block = Callable[[], AbstractContextManager[None]]
"""Makes a `with` block in which dbt does something in another way."""

IMPORTED_LATE = (
    *("agate", "babel.dates", "dbt_common.clients.agate_helper", "multiprocessing.dummy"),
    *("dbt.adapters.postgres.__about__", "psycopg2.extras", "dbt.task.build", "_strptime"),
    *("mage_dbt.dbt.patches", "mage_dbt.dbt.sessions.postgres", "dbt.adapters.__about__"),
    *("mage_dbt.dbt.dropped_views", "mage_dbt.dbt.results.failing_rows", "mage_dbt.dbt.connection"),
    *("mage_dbt.dbt.refresh.refresh", "mage_dbt.dbt.refresh.undo", "mage_dbt.dbt.refresh.expiry"),
    *("mage_dbt.warehouse.refresh.postgres", "mage_dbt.warehouse.restore.postgres"),
)
"""Modules that are otherwise imported only once dbt runs: ours take each run 70 ms of CPU. It does
not matter if one is absent."""

# dbt asks for locks of the "spawn" context, whose first one starts a process that tracks them. dbt
# starts no processes itself, so these locks never leave this one.
dbt.mp_context._MP_CONTEXT = multiprocessing.get_context("fork")


class Project:
    """One parsed manifest, and dbt commands on it. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._package_folders: dict[str, str] | None = None
        self._installed = ""
        self.read: tuple[str, ...] = ()
        """Folders, from that of dbt_project.yml, in which dbt looks for files; after `warm`."""
        self.warnings = ParseWarnings()
        """What dbt warned of while it parsed."""
        self.clock: tuple[str, ...] = ()
        """What of the configuration depends on when it was parsed, if that was watched."""
        self.config: Any = None
        """dbt's own configuration, with profile and target; known once a command has begun."""
        self._compiles = False
        self._shortcuts: Shortcuts | None = None
        self.unwatched: tuple[str, ...] = ()
        """Functions of dbt whose look at the clock goes unnoticed; see `patches/clock.py`."""
        self._missing = ""
        self._commands = 0
        if shortcuts_wanted(os.environ):
            self._take_shortcuts()
        self._watch_compiler()
        # The manifest grows with the project. All runs of a commit have the same, and link it.
        dbt.task.runnable.write_manifest = lambda *_: None

    @classmethod
    def parse(cls, arguments: Sequence[str], watch_clock: bool = False) -> Project:
        """Parses the project that dbt's `arguments` name. Raises NotParsed, with dbt's message.

        `watch_clock` has it note which configuration depends on the time; see `clock`.
        """
        found: Mapping[str, None] = {}
        unwatched: Sequence[str] = ()
        with ExitStack() as stack:
            if watch_clock:
                try:
                    from mage_dbt.dbt.patches.clock import clock_reads
                except ImportError as error:
                    unwatched = (str(error),)
                else:
                    found, unwatched = stack.enter_context(clock_reads())
            parsed, warnings = parse(arguments)
        if not parsed.success or not isinstance(parsed.result, Manifest):
            raise NotParsed.of(parsed)
        project = cls(parsed.result)
        project.clock = tuple(found)
        project.unwatched = tuple(unwatched)
        project.warnings = warnings
        return project

    @property
    def differences(self) -> list[str]:
        """Sentences on functions of this dbt that our patches do not know; after `warm`."""
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

    def learn_package_folders(self, config: Any) -> None:
        """Learns where the files of each package lie, from dbt's own configuration, once.

        A local package is a link to a folder of the repository, which may be outside the project.
        """
        if self._package_folders is not None:
            return
        self._package_folders = {}
        self._installed = os.path.normpath(config.packages_install_path)
        packages = {node.package_name for node in self.manifest.nodes.values()}
        packages |= {macro.package_name for macro in self.manifest.macros.values()}
        packages -= set(get_adapter_package_names(config.credentials.type))
        if packages <= {self.manifest.metadata.project_name}:
            return
        project = Path(config.project_root).resolve()
        for name, package in config.load_dependencies().items():
            self._package_folders[name] = os.path.relpath(
                Path(package.project_root).resolve(), project
            )

    def path_of(self, node: Any) -> str:
        """The node's file relative to the folder of dbt_project.yml, also when a package has it."""
        return self.path_in(node.package_name, node.original_file_path)

    def path_in(self, package: str, path: str) -> str:
        """A package's file relative to the folder of dbt_project.yml."""
        # Of 15,000 nodes a quarter of a second less than with Path.
        folder = (self._package_folders or {}).get(package, ".")
        return os.path.normpath(os.path.join(folder, path))  # noqa: PTH118

    def is_own(self, package: str) -> bool:
        """Whether a package is the project, or a folder of its repository that dbt only links."""
        if package == self.manifest.metadata.project_name:
            return True
        folder = (self._package_folders or {}).get(package)
        if folder is None or package in get_adapter_package_names(self.config.credentials.type):
            return False
        return not Path(folder).is_relative_to(self._installed)

    @property
    def at_work(self) -> bool:
        """Whether a dbt command is under way."""
        return self._commands > 0

    def invoke(self, words: Sequence[str], listener: Listener | None = None) -> dbtRunnerResult:
        """Runs a dbt command on this manifest."""
        if self._shortcuts:
            self._shortcuts.begin()
        callbacks = [listener] if listener else []
        self._commands += 1
        try:
            with _command_line(words):
                return dbtRunner(manifest=self.manifest, callbacks=callbacks).invoke(list(words))
        finally:
            self._commands -= 1

    def invoke_selected(
        self,
        words: Sequence[str],
        selected: Callable[[Any], None],
        listener: Listener | None,
        selecting: Block = nullcontext,
    ) -> dbtRunnerResult:
        """Runs a command, and calls `selected` with dbt's task between selection and execution.

        dbt selects within the block `selecting`. What `selected` raises ends the command and is
        the result's exception.
        """
        with _after(GraphRunnableTask, "_runtime_initialize", selected, selecting):
            return self.invoke(words, listener)

    def warm(self, arguments: Sequence[str]) -> None:
        """Does what any job must do first, without a connection to the warehouse.

        Raises NotParsed when the graph does not compile, because it has a cycle.
        """
        import_late()

        def enough(task: Any) -> None:
            self.learn_package_folders(task.config)
            self.read = tuple(task.config.all_source_paths)
            raise Enough

        node = next((node for node in self.manifest.nodes.values()), None)
        select = ["--select", f"fqn:{'.'.join(node.fqn)}"] if node else []
        with not_counted():
            done = self.invoke_selected(["build", *arguments, *select], enough, None)
        if not self._compiles:
            raise NotParsed.of(done)
        if self._shortcuts:
            self._shortcuts.learn()

    def _take_shortcuts(self) -> None:
        try:
            from mage_dbt.dbt.patches import Shortcuts
        except ImportError as error:
            self._missing = str(error)
            return
        self._shortcuts = Shortcuts(self.manifest)
        self._shortcuts.take()

    def _watch_compiler(self) -> None:
        """Notes dbt's configuration, and that the graph compiles, whatever command compiles it."""
        compile_graph, ours = Compiler.compile, self

        def watched(compiler: Any, manifest: Manifest, *arguments: Any, **options: Any) -> Any:
            graph = compile_graph(compiler, manifest, *arguments, **options)
            if manifest is ours.manifest:
                ours.config, ours._compiles = compiler.config, True
            return graph

        Compiler.compile = watched


def import_late() -> None:
    """Imports what else each run would import for itself."""
    for name in IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)


class Enough(Exception):
    """Ends a dbt command once its nodes are selected."""


@contextmanager
def _command_line(words: Sequence[str]) -> Iterator[None]:
    """dbt writes `sys.argv` into its results as its command line, and models can read it."""
    before = sys.argv
    sys.argv = ["dbt", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _after(
    owner: type[Any], name: str, then: Callable[[Any], None], meanwhile: Block
) -> Iterator[None]:
    """Calls `then` with the task after the method `name` of `owner`, which runs in `meanwhile`."""
    original = getattr(owner, name)

    def both(task: Any) -> None:
        setattr(owner, name, original)  # once: `then` may have dbt run other commands
        with meanwhile():
            original(task)
        then(task)

    setattr(owner, name, both)
    try:
        yield
    finally:
        setattr(owner, name, original)
