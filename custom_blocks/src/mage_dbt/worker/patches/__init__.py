"""The functions of dbt that we replace, so that a run does not cost what it does not need.

Each gives dbt what its own would have given it; the differential test compares whole runs with the
dbt command line. A patch is left out by itself where the installed dbt, adapter or dbt-common has
another source than those it was compared with, and `RUNNER_DBT_SHORTCUTS=false` leaves out all of
them: everything then takes longer, and cannot be wrong because of us. What is replaced for what it
does, such as the names of sessions, stays.
"""

from __future__ import annotations

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.worker.patches.compilation import Compilation
from mage_dbt.worker.patches.nodes import Nodes
from mage_dbt.worker.patches.patch import Patch, taken
from mage_dbt.worker.patches.plain_rows import PlainRows
from mage_dbt.worker.patches.relations import patches as of_relations
from mage_dbt.worker.patches.selection import Selection


class Shortcuts:
    """Those taken on one manifest. Of each process there is at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._nodes = Nodes(manifest)
        self._selection = Selection(manifest)
        self._compilation = Compilation(manifest)
        self._rows = PlainRows(manifest)
        self.differing: list[str] = []
        """Functions whose source is another one than we know; dbt's own is called."""

    def patches(self) -> tuple[Patch, ...]:
        """Those that need nothing but the manifest."""
        return (
            *self._compilation.patches(),
            *self._selection.patches(),
            *self._nodes.patches(),
            *of_relations(self._rows),
            *self._rows.patches(),
        )

    def take(self) -> None:
        """From now on, in this process; once."""
        self.differing += taken(self.patches())

    def learn(self) -> None:
        """Looks at all nodes once, for all runs that are forked from this process."""
        self._nodes.learn()
        graph = self._compilation.plain
        if graph is not None:
            nodes = graph.nodes()
            self._selection.learn(nodes)
            self.differing += taken((self._selection.learned(nodes),))

    def begin(self) -> None:
        """Another command of dbt's begins."""
        self._selection.begin()
