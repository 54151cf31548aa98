"""Which relations a run drops to build them anew, what falls with them, and when that is refused.

What dbt drops follows the rules of the materializations that come with dbt. A project's own
materialization may do anything, so it counts as dropping whatever stands there.

While a run waits for its turn, anybody may make a view on what it is about to drop. So the answer
at its turn counts. For a full refresh that must keep such views, the answer inside dbt's own
transaction counts: there the server has locked the relation, and nobody can make another view.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.nodes import WRITTEN, full_refresh, is_test, name_of, stores_failures
from mage_dbt.warehouse import (
    ANY,
    MATERIALIZED_VIEW,
    TABLE,
    VIEW,
    Lost,
    Target,
    Warehouse,
    warehouse_of,
)

NOTHING: frozenset[str] = frozenset()

BUILT_ASIDE = frozenset({"table", "view", "incremental", "materialized_view"})
"""Materializations that dbt builds under another name first."""

SELECT_THEM = (
    "Select the models among them too (`with_downstream` in Mage, else `model+`). For what is no "
    "model of dbt-metric ask an operator."
)


def dropped_when(node: Any) -> frozenset[str]:
    """What must stand under the node's name for dbt to drop it."""
    if is_test(node):
        return ANY if stores_failures(node) else NOTHING
    kind = str(node.config.materialized)
    refresh = full_refresh(node)
    return {
        "table": ANY,
        "view": ANY,
        "incremental": ANY if refresh else frozenset({VIEW}),
        "materialized_view": ANY if refresh else ANY - {MATERIALIZED_VIEW},
        "seed": frozenset({TABLE}) if refresh else NOTHING,
        "snapshot": NOTHING,
        "function": NOTHING,
        "ephemeral": NOTHING,
    }.get(kind, ANY)


def targets(nodes: Iterable[Any], relation_of: Callable[[Any], Any]) -> Iterator[Target]:
    """What these planned nodes write.

    `relation_of` gives the relation of a node that has no name yet: a test whose failures only this
    run stores.
    """
    for node in nodes:
        if is_test(node):
            if str(node.resource_type) == "test" and stores_failures(node):
                rendered = node.relation_name or str(relation_of(node))
                yield Target(node.unique_id, rendered, dropped_when(node))
        elif str(node.resource_type) in WRITTEN and getattr(node, "relation_name", None):
            aside = str(node.config.materialized) in BUILT_ASIDE
            yield Target(node.unique_id, node.relation_name, dropped_when(node), aside)


def not_granted_again(
    nodes: Iterable[Any], granted: Mapping[str, Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """Sentences on rights and comments that fall with these nodes and that dbt does not restore.

    dbt grants what `grants` says, and writes comments where `persist_docs` is on.
    """
    for node in nodes:
        rights = dict(granted.get(node.unique_id, {}))
        comment = rights.pop("comment", None)
        again = {
            name: set(who) for name, who in (getattr(node.config, "grants", None) or {}).items()
        }
        lost = [
            f"{name} to {', '.join(left)}"
            for name, who in rights.items()
            if (left := [grantee for grantee in who if grantee not in again.get(name, ())])
        ]
        if lost:
            yield f"{name_of(node)} loses what is granted on it: {'; '.join(lost)}."
        if comment and not (getattr(node.config, "persist_docs", None) or {}).get("relation"):
            yield f"{name_of(node)} loses its comment."


def kept(nodes: Iterable[Any]) -> tuple[list[str], bool]:
    """Sentences on the nodes that this full refresh does not rebuild, and whether that is all."""
    left, rebuilt = defaultdict(list), False
    for node in nodes:
        if is_test(node):
            continue
        if getattr(node.config, "full_refresh", None) is False:
            left["`full_refresh: false` in the configuration"].append(name_of(node))
        elif str(node.resource_type) == "snapshot":
            left["a snapshot is never rebuilt"].append(name_of(node))
        else:
            rebuilt = True
    sentences = [
        f"{', '.join(names)} keep{'s' if len(names) == 1 else ''} the rows there are: {why}."
        for why, names in left.items()
    ]
    return sentences, bool(left) and not rebuilt


class Guard:
    """Watches what one job's drops take along."""

    def __init__(
        self,
        warehouse: Warehouse,
        targets: Sequence[Target],
        keeps: bool,
        restores: bool,
        label: Callable[[str], str],
        is_after: Callable[[str, str], bool],
    ) -> None:
        """`keeps` says whether a loss refuses the job, `restores` whether views are put back.

        `label` names a node by its unique id.
        `is_after` says whether dbt builds the first node after the second.
        """
        self._warehouse = warehouse
        self._label = label
        self._is_after = is_after
        self._targets = targets
        self._reported: frozenset[str] = frozenset()
        self._restores = restores
        self.keeps = keeps

    def look(self) -> Lost:
        """What is lost if the run begins now."""
        try:
            return self._warehouse.lost(self._targets)
        except DbtDatabaseError as error:
            return Lost(unknown=f"the warehouse does not tell ({scrub(str(error).strip())})")

    def refusal(self, lost: Lost) -> str:
        """Why the run is refused; empty when it is not."""
        if not self.keeps:
            return ""
        if lost.objects:
            names = ", ".join(lost.objects)
            return f"This full refresh would drop what it does not rebuild: {names}."
        if lost.unknown:
            return f"What this full refresh would drop along cannot be told: {lost.unknown}."
        return ""

    def news(self, lost: Lost) -> list[str]:
        """Sentences on what is lost, each only once."""
        sentences = [self._sentence(name) for name in lost.objects]
        sentences += [
            f"{self._label(reader)} reads {self._label(dropped)} and has no `ref` to it: built "
            "before it, it is dropped along."
            for reader, dropped in lost.read
            if not self._is_after(reader, dropped)
        ]
        if lost.unknown:
            sentences.append(f"What is dropped along cannot be told: {lost.unknown}.")
        new = [sentence for sentence in sentences if sentence not in self._reported]
        self._reported |= {*new}
        return new

    def _sentence(self, name: str) -> str:
        """On one object, which begins with its kind."""
        if self._restores and name.startswith(("view ", "materialized view ")):
            return f"The {name} is dropped along, and put back with its grants where it still fits."
        return f"The {name} is dropped along and not rebuilt by this run."

    def watch(self, adapter: Any) -> None:
        """From now on dbt's PostgreSQL adapter drops nothing that takes along what is not rebuilt.

        The node fails instead, and its transaction with it. It holds for this process.
        """
        if not self.keeps or adapter.type() != "postgres":
            return
        rename, drop = adapter.rename_relation, adapter.drop_relation
        here = warehouse_of(adapter.type(), lambda sql: rows(adapter, sql))
        rebuilt = [
            replace(target, drops=frozenset(), builds_aside=False) for target in self._targets
        ]

        def refuse(relation: Any) -> None:
            dropped = Target("", str(relation), ANY)
            if why := self.refusal(here.lost([dropped, *rebuilt])):
                raise DbtRuntimeError(f"{why} {SELECT_THEM}")

        def rename_relation(old: Any, new: Any) -> Any:
            done = rename(old, new)
            if str(new.identifier).endswith("__dbt_backup"):
                refuse(new)  # the renaming has locked it
            return done

        def drop_relation(relation: Any) -> Any:
            if relation.is_table and adapter.connections.get_thread_connection().transaction_open:
                adapter.execute(f"lock table {relation} in access exclusive mode")
            refuse(relation)
            return drop(relation)

        adapter.rename_relation, adapter.drop_relation = rename_relation, drop_relation


def rows(adapter: Any, sql: str) -> list[dict[str, Any]]:
    """The statement's rows, over the connection that dbt has in this thread."""
    _, table = adapter.execute(sql, fetch=True)
    return [dict(zip(table.column_names, row.values(), strict=True)) for row in table.rows]
