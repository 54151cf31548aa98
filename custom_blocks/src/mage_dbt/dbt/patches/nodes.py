"""What dbt does for each node, or repeatedly, although a run needs little of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any

from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import HookNode
from dbt.flags import get_flags
from dbt.task.run import get_hooks_by_tags
from dbt_common import behavior_flags
from dbt_common.clients.jinja import template_cache
from dbt_common.exceptions import DbtBaseException
from sqlparse.lexer import Lexer

from mage_dbt.dbt.patches.patch import Patch

CALLED_BY_DBT = (
    *("list_relations_without_caching", "list_schemas", "postgres_get_relations"),
    *("postgres__create_schema", "drop_relation", "rename_relation"),
    *("get_where_subquery", "run_hooks"),
)
"""Macros that a run needs and that no materialization names."""


class Nodes:
    """The patches on nodes for one manifest. A process has at most one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._one_of_each_schema: list[Any] | None = None
        self._hooks: list[HookNode] | None = None

    def learn(self) -> None:
        """Visits all nodes once, for all runs that are forked from this process."""
        self._one_of_each_schema = _one_of_each_schema(self._manifest)
        self._hooks = [node for node in self._manifest.nodes.values() if isinstance(node, HookNode)]
        # dbt makes these when a model first asks for a `ref` and a `source`.
        _ = self._manifest.ref_lookup, self._manifest.source_lookup
        Lexer.get_default_instance()  # type: ignore[no-untyped-call]
        for macro in _macros_of_a_run(self._manifest):
            with suppress(DbtBaseException):  # the run that calls it gets the error
                template_cache.get_node_template(macro)

    def patches(self) -> tuple[Patch, ...]:
        return (
            Patch(
                "dbt.task.runnable:GraphRunnableTask.populate_adapter_cache",
                self._populate_cache,
                sources=("6c72faa5bef49f2f",),
                why="A relation is made of every node to learn which schemas there are: one of "
                "each will do, for what is kept of each is database, schema and how they are "
                "quoted.",
                relies_on=(
                    "dbt.adapters.base.impl:BaseAdapter.set_relations_cache",
                    "dbt.adapters.base.impl:BaseAdapter._relations_cache_for_schemas",
                    "dbt.adapters.base.impl:BaseAdapter._get_cache_schemas",
                ),
            ),
            Patch(
                "dbt.task.runnable:GraphRunnableTask.get_model_schemas",
                self._schemas,
                sources=("868f77f4d4bdc2aa",),
                why="The schemas of the selected nodes are found by a look at all nodes.",
            ),
            Patch(
                "dbt.task.run:RunTask.get_hooks_by_type",
                self._hooks_of_kind,
                sources=("9e5d590327bc6b12",),
                why="Every node is looked at, twice, for `on-run-start` and `on-run-end`.",
                relies_on=("dbt.task.run:get_hooks_by_tags",),
            ),
            Patch(
                "dbt.plugins.manager:PluginManager.get_prefixed_modules",
                cache,
                sources=("d5b3b472144a7140",),
                why="The installed modules are searched for plugins by each command.",
            ),
            Patch(
                "dbt_common.behavior_flags:BehaviorFlagRendered._default_source",
                lambda _: _module_that_asks,
                sources=("29a653aaaebbe60d",),
                why="The module that makes a behavior flag is found by looking for the source file "
                "of each frame of the stack.",
            ),
            Patch(
                "dbt_common.events.functions:env_secrets",
                _known_secrets,
                sources=("f12f1ba7db3c2c7a",),
                why="The whole environment is searched for secrets to hide, twice for each line of "
                "the log. A worker's environment is the one it was started with.",
            ),
        )

    def _populate_cache(self, original: Any) -> Any:
        def populate(task: Any, adapter: Any, required_schemas: Any = None) -> None:
            if task.manifest is not self._manifest or adapter.type() != "postgres":
                original(task, adapter, required_schemas)
                return
            if not task.args.populate_cache:
                return
            if self._one_of_each_schema is None:
                self._one_of_each_schema = _one_of_each_schema(self._manifest)
            only = get_flags().CACHE_SELECTED_ONLY is True
            adapter.set_relations_cache(
                self._one_of_each_schema, required_schemas=required_schemas if only else None
            )

        return populate

    def _schemas(self, original: Any) -> Any:
        def schemas(task: Any, adapter: Any, selected_uids: Iterable[str]) -> Any:
            if task.manifest is not self._manifest:
                return original(task, adapter, selected_uids)
            nodes = (self._manifest.nodes.get(unique_id) for unique_id in selected_uids)
            return {
                adapter.Relation.create_from(task.config, node).without_identifier()
                for node in nodes
                if node is not None and node.is_relational and not node.is_ephemeral
            }

        return schemas

    def _hooks_of_kind(self, original: Any) -> Any:
        def hooks(task: Any, kind: Any) -> list[HookNode]:
            if task.manifest is not self._manifest or self._hooks is None:
                return list(original(task, kind))
            return sorted(get_hooks_by_tags(self._hooks, {kind}), key=task._hook_keyfunc)

        return hooks


def _one_of_each_schema(manifest: Manifest) -> list[Any]:
    """One node of each schema, among those that may stand in the warehouse."""
    found = {
        (node.database, node.schema, str(node.quoting_dict)): node
        for node in manifest.nodes.values()
        if node.is_relational and not node.is_ephemeral_model and not node.is_external_node
    }
    return list(found.values())


def _macros_of_a_run(manifest: Manifest) -> Iterator[Any]:
    """The macros that this project's nodes are built and tested with, and all that those call.

    dbt compiles each when a run first calls it. Where two have the same text, dbt's messages name
    the one that was called first, so those are left to dbt.
    """
    kinds = {str(node.config.materialized) for node in manifest.nodes.values()}
    first = {
        f"materialization_{kind}_{whose}" for kind in kinds for whose in ("default", "postgres")
    }
    first |= {*CALLED_BY_DBT}
    waiting = [unique_id for unique_id, macro in manifest.macros.items() if macro.name in first]
    waiting += {macro for node in manifest.nodes.values() for macro in node.depends_on.macros}
    texts = Counter(macro.macro_sql for macro in manifest.macros.values())
    seen: set[str] = set()
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen and unique_id in manifest.macros:
            seen.add(unique_id)
            macro = manifest.macros[unique_id]
            waiting += macro.depends_on.macros
            if texts[macro.macro_sql] == 1:
                yield macro


def _known_secrets(original: Any) -> Any:
    secrets = original()
    return lambda: secrets


def _module_that_asks() -> str:
    """The module that makes a behavior flag."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name not in (behavior_flags.__name__, __name__):
            return name
        frame = frame.f_back
    return "Unknown"
