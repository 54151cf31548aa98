"""Which relations a run drops to build them anew: dbt's own rules, node by node.

They are those of the materializations that come with dbt. One that a project brings of its own may
do anything, so it counts as dropping whatever stands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dbt.flags import get_flags

from mage_dbt.warehouse import ANY, MATERIALIZED_VIEW, TABLE, VIEW, Target
from mage_dbt.worker.nodes import WRITTEN, is_test, name_of

NOTHING: frozenset[str] = frozenset()

BUILT_ASIDE = frozenset({"table", "view", "incremental", "materialized_view"})


def asked(flag: str) -> bool:
    """Whether this run has the flag, by its words, its environment or the project's `flags:`."""
    return bool(getattr(get_flags(), flag, False))  # not every command has every flag


def full_refresh(node: Any) -> bool:
    """dbt's macro `should_full_refresh`: the configuration beats the flag, both ways."""
    configured = getattr(node.config, "full_refresh", None)
    return bool(asked("FULL_REFRESH") if configured is None else configured)


def stores_failures(node: Any) -> bool:
    """dbt's macro `should_store_failures`."""
    configured = getattr(node.config, "store_failures", None)
    return bool(asked("STORE_FAILURES") if configured is None else configured)


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


def targets(nodes: Iterable[Any], relation_of: Any) -> Iterator[Target]:
    """What these planned nodes write; `relation_of` renders the name of a node that has none yet,
    as a test has when only this run stores its failures."""
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
    """Sentences on the rights and comments that fall with these nodes' relations and that dbt does
    not bring back: it grants what `grants` says and writes comments where `persist_docs` is on."""
    for node in nodes:
        rights = dict(granted.get(node.unique_id, {}))
        comment = rights.pop("comment", None)
        again = {
            name: set(who) for name, who in (getattr(node.config, "grants", None) or {}).items()
        }
        lost = [
            f"{name} to {', '.join(left)}"
            for name, who in rights.items()
            if (left := [one for one in who if one not in again.get(name, ())])
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
