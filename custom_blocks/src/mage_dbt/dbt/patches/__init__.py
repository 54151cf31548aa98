"""The functions of dbt that we replace, so that a run does not cost what it does not need.

Each gives dbt what its own function would have given; the differential test compares whole runs
with dbt's command line. A patch is left out by itself where the installed dbt, adapter or
dbt-common has another source than those it was compared with. `RUNNER_DBT_SHORTCUTS=false` leaves
out all of them: then everything takes longer, and cannot be wrong because of us. What is replaced
for what it does, such as the names of sessions, stays.
"""

from __future__ import annotations

from dbt.contracts.graph.manifest import Manifest

from mage_dbt.dbt.patches.clock import all_patches as of_the_clock
from mage_dbt.dbt.patches.compilation import Compilation
from mage_dbt.dbt.patches.macros import Macros
from mage_dbt.dbt.patches.nodes import Nodes
from mage_dbt.dbt.patches.patch import Patch, apply_fitting, names_of_differing
from mage_dbt.dbt.patches.relations import PlainRows
from mage_dbt.dbt.patches.relations import patches as of_relations
from mage_dbt.dbt.patches.schemas import patches as of_schemas
from mage_dbt.dbt.patches.selection import Selection


class Shortcuts:
    """The patches for one manifest. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._nodes = Nodes(manifest)
        self._selection = Selection(manifest)
        self._compilation = Compilation(manifest)
        self._rows = PlainRows(manifest)
        self.differing: list[str] = []
        """Functions whose source we do not know; dbt's own are called."""

    def patches(self) -> tuple[Patch, ...]:
        """Those that need only the manifest."""
        return (
            *self._compilation.patches(),
            *self._selection.patches(),
            *self._nodes.patches(),
            *of_relations(self._rows),
            *self._rows.patches(),
        )

    def take(self) -> None:
        """Applies them in this process. Call it once."""
        self.differing += apply_fitting(self.patches())
        self.differing += names_of_differing(_of_zygotes())

    def learn(self) -> None:
        """Visits all nodes once, for all runs that are forked from this process."""
        self._nodes.learn()
        graph = self._compilation.plain
        if graph is not None:
            nodes = graph.nodes()
            self._selection.learn(nodes)
            self.differing += apply_fitting((self._selection.learned(nodes),))

    def begin(self) -> None:
        """Another command of dbt's begins."""
        self._selection.begin()


def all_patches() -> tuple[Patch, ...]:
    """Every patch, made for an empty manifest: to be compared, not applied."""
    nothing = Manifest()
    return (
        *Shortcuts(nothing).patches(),
        Selection(nothing).learned(()),
        *of_the_clock(),
        *_of_zygotes(),
    )


def take_for_all() -> None:
    """Applies, once, those that serve each parse forked from this process."""
    macros = Macros()
    macros.learn()
    apply_fitting(macros.patches())


def _of_zygotes() -> tuple[Patch, ...]:
    """Those of a process that others are forked from, to be compared."""
    return (*Macros().patches(), *of_schemas())


def compare_sources() -> None:
    """Reads the sources of dbt's functions now, for all processes that are forked from this one."""
    for patch in all_patches():
        patch.fits()
