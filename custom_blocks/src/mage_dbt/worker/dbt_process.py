"""The process in which dbt runs: `prepare` makes a commit ready, `run` plans and executes a job.

Only here is dbt imported. The parent speaks through standard input and output, one JSON line each;
dbt's own output goes to standard error. Events are appended to a file, with secrets taken out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner
from dbt.config.runtime import load_profile
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from google.protobuf.json_format import MessageToDict

from mage_dbt.command import VALUE_FLAGS
from mage_dbt.errors import did_you_mean
from mage_dbt.plan import PlannedNode
from mage_dbt.redaction import scrub, scrub_data
from mage_dbt.run import PASSED
from mage_dbt.warehouse import lost_dependents, row_estimates
from mage_dbt.worker import EVENTS_FILE, Job
from mage_dbt.worker.orders import Orders
from mage_dbt.worker.reasons import has_operator, why_in, without_operators
from mage_dbt.worker.session_names import name_sessions

EXECUTABLE = frozenset({"model", "seed", "snapshot", "test", "unit_test", "function"})
"""Resource types that a run executes; `ls` also lists exposures, metrics and sources."""

WRITTEN = frozenset({"model", "seed", "snapshot", "function"})
"""Resource types that leave a relation in the warehouse."""

QUIET = ("--quiet", "--no-use-colors", "--no-version-check", "--no-send-anonymous-usage-stats")


def main(arguments: list[str]) -> None:
    """Entry point: `run FOLDER` or `prepare` with a JSON object on standard input."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output must not break the protocol
    if arguments[0] == "prepare":
        answer.write(json.dumps(prepare(json.loads(sys.stdin.readline()))) + "\n")
    else:
        _run(Job.read(Path(arguments[1])), answer.write)


def prepare(task: Mapping[str, Any]) -> dict[str, Any]:
    """Installs packages when `task["deps"]`, then parses; both with dbt's own commands."""
    arguments = [*task["dbt_arguments"], *QUIET]
    if task["deps"]:
        done = dbtRunner().invoke(["deps", *_without(arguments, "--target-path")])
        if not done.success:
            return {"failed": "packages", "message": _message(done.exception)}
    parsed = dbtRunner().invoke(["parse", *arguments])
    if not parsed.success or not isinstance(parsed.result, Manifest):
        return {"failed": "parse", "message": _message(parsed.exception)}
    manifest = parsed.result
    return {
        "failed": "",
        "dbt_version": version("dbt-core"),
        "adapter": manifest.metadata.adapter_type,
        "models": [
            {
                "node": node.unique_id,
                "name": _name(node),
                "type": str(node.resource_type),
                "materialized": str(node.config.materialized),
                "relation": node.relation_name or "",
                "description": node.description.strip(),
                "path": node.original_file_path,
                "checksum": node.checksum.checksum,
            }
            for node in sorted(manifest.nodes.values(), key=lambda node: node.name)
            if str(node.resource_type) in ("model", "seed", "snapshot")
        ],
        "nodes": list(_known_nodes(manifest)),
    }


def _known_nodes(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Everything that can be executed, and what is disabled of it."""
    functions = getattr(manifest, "functions", {})
    enabled = [*manifest.nodes.values(), *manifest.unit_tests.values(), *functions.values()]
    disabled = [nodes[0] for nodes in manifest.disabled.values()]
    known = {node.unique_id for node in enabled}
    for node in [*enabled, *(one for one in disabled if one.unique_id not in known)]:
        if str(node.resource_type) in EXECUTABLE:
            yield {
                "node": node.unique_id,
                "name": _name(node),
                "type": str(node.resource_type),
                "path": node.original_file_path,
                "enabled": node.unique_id in known,
            }


def _run(job: Job, answer: Callable[[str], object]) -> None:
    orders = Orders()
    name_sessions(job.run, job.caller)
    target = job.folder / "target"
    target.mkdir(exist_ok=True)
    partial_parse = job.parsed / "partial_parse.msgpack"
    if partial_parse.exists():
        shutil.copy(partial_parse, target)
    common = [*job.dbt_arguments, *QUIET, "--target-path", str(target)]
    common += ["--log-path", str(job.folder / "logs"), "--vars", json.dumps(dict(job.variables))]
    parsed = dbtRunner().invoke(["parse", *common])
    if not parsed.success or not isinstance(parsed.result, Manifest):
        answer(json.dumps(_refusal("parse", _message(parsed.exception))) + "\n")
        return
    session = Session(job, parsed.result, common)
    plan = session.plan()
    answer(json.dumps(plan) + "\n")
    if plan["refused"]:
        return
    orders.wait_for_start()
    session.execute()


class Session:
    """One job on one parsed manifest: planning, executing, and telling what happens."""

    def __init__(self, job: Job, manifest: Manifest, common: list[str]) -> None:
        self._job = job
        self._manifest = manifest
        self._common = common
        self._planned: dict[str, Any] = {}
        self._statuses: dict[str, str] = {}
        self._events = (job.folder / EVENTS_FILE).open("a", buffering=1)

    def plan(self) -> dict[str, Any]:
        """The answer to the parent: nodes in order and warnings, or why it is refused."""
        selection = self._selection()
        if self._job.nodes and not selection:
            return _refusal(
                "selection",
                f"None of the nodes to run again is enabled at {self._job.commit[:7]} with these "
                "variables.",
                "Run what replaces them.",
            )
        unmatched: list[str] = []

        def listen(event: EventMsg) -> None:
            if event.info.name == "NoNodesForSelectionCriteria":
                unmatched.append(event.data.spec_raw)

        runner = dbtRunner(manifest=self._manifest, callbacks=[listen])
        keys = ["--output", "json", "--output-keys", "unique_id"]
        listed = runner.invoke(["ls", *self._common, *selection, *keys, *self._choosing_flags()])
        if not listed.success:
            return _refusal("selection", _message(listed.exception))
        ids = [json.loads(line)["unique_id"] for line in listed.result or []]
        chosen = [self._node(one) for one in ids]
        self._planned = {
            node.unique_id: node
            for node in self._in_order(chosen)
            if str(node.resource_type) in _types_of(self._job.command)
        }
        wrong = [one for one in unmatched if one not in self._job.exclude]
        if wrong or not self._planned:
            return self._nothing_matches(wrong)
        reasons = self._reasons()
        rows = self._rows() if self._job.details else {}
        return {
            "refused": "",
            "nodes": [
                replace(
                    self._planned_node(node), why=reasons.get(one, ""), rows=rows.get(one)
                ).to_json()
                for one, node in self._planned.items()
            ],
            "warnings": [
                *lost_dependents(self._query, self._planned.values(), self._drops),
                *(self._stale_sources() if self._job.details else ()),
            ],
            "notes": list(self._rerun_notes()),
            "threads": self._threads() if self._job.details else 1,
        }

    def execute(self) -> None:
        """Runs dbt and tells each node's start and end, then how it all ended."""
        arguments = [self._job.command, *self._common, *self._selection(), *self._job.flags]
        runner = dbtRunner(manifest=self._manifest, callbacks=[self._hear])
        done = runner.invoke(arguments)
        results = getattr(done.result, "results", None) or []
        for one in results:  # hooks, and whatever else dbt reports only at the end
            if one.node.unique_id not in self._statuses:
                self._finished(
                    one.node,
                    str(one.status),
                    one.execution_time,
                    one.message or "",
                    dict(one.adapter_response or {}),
                    one.failures,
                )
        self._tell(
            "end",
            success=bool(done.success),
            message=_message(done.exception) if done.exception else "",
        )

    def _selection(self) -> list[str]:
        flags: list[str] = []
        select = list(self._job.select)
        if self._job.nodes:
            found = [self._node(one) for one in self._job.nodes]
            select = [
                f"fqn:{'.'.join(node.fqn)}{'' if _is_test(node) else '+'}"
                for node in found
                if not isinstance(node, _Unplanned)
            ]
        if select:
            flags += ["--select", *select]
        if self._job.exclude:
            flags += ["--exclude", *self._job.exclude]
        return flags

    def _reasons(self) -> dict[str, str]:
        """By unique id, why each planned node is in the plan."""
        if self._job.nodes:
            given = dict(self._job.nodes)
            return given | why_in(self._edges(), given.keys(), given)
        if not self._job.select:
            return dict.fromkeys(self._planned, "everything was asked for")
        if not any(has_operator(one) for one in self._job.select):
            asked = {one for one, node in self._planned.items() if not _is_test(node)}
        elif self._job.details:
            asked = self._asked_for()
        else:  # telling them apart takes dbt as long again as the selection; a run does not wait
            chosen = f"chosen by {' '.join(self._job.select)}"
            return dict.fromkeys(self._planned, chosen)
        return why_in(self._edges(), asked, {})

    def _edges(self) -> dict[str, list[str]]:
        """What each planned node reads, in the plan's order; tests last, as leaves."""
        nodes = sorted(self._planned.values(), key=_is_test)
        return {node.unique_id: _reads(node) for node in nodes}

    def _asked_for(self) -> set[str]:
        """The nodes that the criteria match without their graph operators: dbt's own answer."""
        criteria = [without_operators(one) for one in self._job.select]
        only = ["--output", "json", "--output-keys", "unique_id", "--indirect-selection", "empty"]
        runner = dbtRunner(manifest=self._manifest)
        listed = runner.invoke(["ls", *self._common, "--select", *criteria, *only])
        return {json.loads(line)["unique_id"] for line in listed.result or []}

    def _rerun_notes(self) -> Iterator[str]:
        """For a rerun: what came since, and what these variables leave out."""
        for one in self._job.nodes:
            if one not in self._planned and isinstance(self._node(one), _Unplanned):
                yield f"{one.split('.')[2]} is disabled with these variables: left out."
        for one, node in self._planned.items():
            if node.original_file_path in self._job.added and not _is_test(node):
                read = [self._label(up) for up in _reads(node) if up in self._planned]
                if read:
                    yield f"{self._label(one)} was added since and reads {', '.join(read)}."

    def _rows(self) -> dict[str, int]:
        if self._manifest.metadata.adapter_type != "postgres":
            return {}
        written = [node for node in self._planned.values() if str(node.resource_type) in WRITTEN]
        return row_estimates(self._query, written)

    def _stale_sources(self) -> list[str]:
        """Sentences on planned nodes' sources that dbt calls stale, by their own freshness."""
        read = {up for node in self._planned.values() for up in _reads(node)}
        sources = [
            self._manifest.sources[one] for one in sorted(read & self._manifest.sources.keys())
        ]
        checked = [one for one in sources if one.freshness]
        if not checked:
            return []
        select = [f"source:{one.source_name}.{one.name}" for one in checked]
        runner = dbtRunner(manifest=self._manifest)
        done = runner.invoke(["source", "freshness", *self._common, "--select", *select])
        results = getattr(done.result, "results", None) or []
        return [
            _staleness(one) for one in results if str(one.status) not in ("pass", "success")
        ] or (
            []
            if results
            else [f"dbt could not tell how fresh its sources are: {_message(done.exception)}"]
        )

    def _threads(self) -> int:
        """How many nodes dbt runs at once here, by the profile it is given."""
        words = self._common
        given = {
            flag: words[words.index(flag) + 1]
            for flag in words
            if flag.startswith("--p") or flag == "--target"
        }
        profile = load_profile(
            given["--project-dir"],
            dict(self._job.variables),
            given.get("--profile"),
            given.get("--target"),
        )
        return int(profile.threads)

    def _choosing_flags(self) -> list[str]:
        """Those of the job's flags that decide which nodes are chosen, for `ls`."""
        pairs = zip(self._job.flags, self._job.flags[1:], strict=False)
        return [word for pair in pairs if pair[0] in VALUE_FLAGS for word in pair]

    def _node(self, unique_id: str) -> Any:
        manifest = self._manifest
        for table in (manifest.nodes, manifest.unit_tests, getattr(manifest, "functions", {})):
            if unique_id in table:
                return table[unique_id]
        return _Unplanned(unique_id)

    def _in_order(self, chosen: list[Any]) -> Iterable[Any]:
        nodes = {node.unique_id: node for node in chosen}
        # Sorted: a set's order is another one in each process, and the digest holds the order.
        reads = {one: sorted(nodes.keys() & _reads(node)) for one, node in nodes.items()}
        for order in TopologicalSorter(reads).static_order():
            yield nodes[order]

    def _planned_node(self, node: Any) -> PlannedNode:
        writes = self._job.command != "compile" and str(node.resource_type) in WRITTEN
        return PlannedNode(
            node=node.unique_id,
            name=_name(node),
            type=str(node.resource_type),
            materialized=str(getattr(node.config, "materialized", "")),
            relation=(getattr(node, "relation_name", None) or "") if writes else "",
            reads=tuple(sorted(self._relations_read(node))),
            depends_on=tuple(_reads(node)),
            fqn=".".join(node.fqn),
            path=node.original_file_path,
        )

    def _relations_read(self, node: Any) -> set[str]:
        """Tables and views of the project that `node` reads.

        Through an ephemeral model, and through a view beside the view itself: who reads a view
        reads its tables, and when one of those is replaced the view falls with it.
        """
        found: set[str] = set()
        for one in _reads(node):
            upstream = self._node(one)
            if str(upstream.resource_type) not in WRITTEN:
                continue
            if name := getattr(upstream, "relation_name", None):
                found.add(name)
            if not name or str(upstream.config.materialized) == "view":
                found |= self._relations_read(upstream)
        return found

    def _drops(self, node: Any) -> bool:
        """Whether running this node drops the old table, and with it what depends on it."""
        if self._job.command == "compile":
            return False
        kind = str(getattr(node.config, "materialized", ""))
        return kind == "table" or (
            kind in ("incremental", "seed") and "--full-refresh" in self._job.flags
        )

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a read-only query on the warehouse, over dbt's own connection."""
        runner = dbtRunner(manifest=self._manifest)
        shown = runner.invoke(
            ["show", *self._common, "--inline", sql, "--limit", "-1", "--no-write-json"]
        )
        if not shown.success:
            raise RuntimeError(_message(shown.exception))
        table = shown.result.results[0].agate_table
        return [dict(zip(table.column_names, row.values(), strict=True)) for row in table.rows]

    def _nothing_matches(self, wrong: list[str]) -> dict[str, Any]:
        names = [
            _name(node)
            for node in self._manifest.nodes.values()
            if str(node.resource_type) in ("model", "seed", "snapshot")
        ]
        for one in wrong:
            name = without_operators(one)
            if any(
                name == node.name for nodes in self._manifest.disabled.values() for node in nodes
            ):
                return _refusal(
                    "selection",
                    f'"{name}" is disabled in dbt-metric at {self._job.commit[:7]}.',
                    "Its configuration says `enabled: false`; leave it out, or enable it.",
                )
        if not wrong:
            asked = " ".join(self._job.select) or "everything"
            return _refusal(
                "selection",
                f"The selection matches nothing to {self._job.command}: {asked}.",
                "",
            )
        hints = [did_you_mean(one.strip("+@*"), names) for one in wrong]
        quoted = ", ".join(f'"{one}"' for one in wrong)
        return _refusal(
            "selection",
            f"No model {quoted} in dbt-metric at {self._job.commit[:7]}.",
            " ".join(dict.fromkeys(hint for hint in hints if hint))
            or "The list of models shows every name.",
        )

    def _hear(self, event: EventMsg) -> None:
        name = event.info.name
        if name == "NodeStart":
            node = event.data.node_info
            if node.unique_id in self._planned:
                self._tell(
                    "node_started",
                    node=node.unique_id,
                    name=self._label(node.unique_id),
                    compiled=self._compiled(node.unique_id),
                )
        elif name == "NodeFinished":
            result = MessageToDict(event.data.run_result, preserving_proto_field_name=True)
            node = self._node(event.data.node_info.unique_id)
            self._finished(
                node,
                result["status"],
                result.get("execution_time", 0.0),
                result.get("message", ""),
                result.get("adapter_response", {}),
                result.get("num_failures"),
            )
        elif event.info.level == "warn" and not hasattr(event.data, "node_info"):
            self._tell("log", level="warn", text=event.info.msg)

    def _finished(
        self,
        node: Any,
        status: str,
        seconds: float,
        message: str,
        response: Mapping[str, Any],
        failures: int | None,
    ) -> None:
        if str(node.resource_type) not in EXECUTABLE | {"operation"}:
            return  # an exposure: dbt names it and does nothing
        self._statuses[node.unique_id] = status
        rows = response.get("rows_affected")
        is_test = str(node.resource_type) in ("test", "unit_test")
        self._tell(
            "node_finished",
            node=node.unique_id,
            name=_name(node),
            type=str(node.resource_type),
            status=status,
            seconds=round(seconds, 3),
            rows=failures if is_test else (int(rows) if rows is not None and rows >= 0 else None),
            message=message,
            because=self._because(node) if status == "skipped" else "",
            relation=getattr(node, "relation_name", None) or "",
        )

    def _compiled(self, unique_id: str) -> str:
        """Where dbt writes a node's compiled SQL, from the run's folder; empty for a seed."""
        node = self._node(unique_id)
        if str(node.resource_type) == "seed" or not hasattr(node, "get_target_write_path"):
            return ""
        return str(node.get_target_write_path("target", "compiled"))

    def _because(self, node: Any) -> str:
        """The nearest upstream that failed: a node it reads, or a test on one of those."""
        seen: set[str] = set()
        line = list(_reads(node))
        while line:
            upstream = line.pop(0)
            if upstream in seen:
                continue
            seen.add(upstream)
            for suspect in (upstream, *self._tests_of.get(upstream, ())):
                if self._statuses.get(suspect, "success") not in PASSED | {"skipped"}:
                    return self._label(suspect)
            line += _reads(self._node(upstream))
        return ""

    @cached_property
    def _tests_of(self) -> dict[str, list[str]]:
        """The planned tests on each node; asked for only after `plan`."""
        tests: dict[str, list[str]] = {}
        for one in self._planned.values():
            if str(one.resource_type) in ("test", "unit_test"):
                for parent in _reads(one):
                    tests.setdefault(parent, []).append(one.unique_id)
        return tests

    def _label(self, unique_id: str) -> str:
        node = self._node(unique_id)
        return unique_id if isinstance(node, _Unplanned) else _name(node)

    def _tell(self, kind: str, **data: Any) -> None:
        told = scrub_data({"at": time.time(), "kind": kind, **data})
        self._events.write(json.dumps(told) + "\n")


class _Unplanned:
    """Stands for a node that no run executes: a source, an exposure, a hook."""

    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id
        self.resource_type = unique_id.split(".", 1)[0]
        self.name = unique_id.rsplit(".", 1)[-1]


def _staleness(result: Any) -> str:
    """One sentence on a source that is not fresh, or of which dbt cannot tell."""
    name = f"{result.node.source_name}.{result.node.name}"
    newest = getattr(result, "max_loaded_at", None)
    if newest is None:
        return (
            f"dbt could not tell how fresh the source {name} is: {result.message or result.status}"
        )
    hours = result.age / 3600
    return (
        f"The source {name} is stale: its newest row is {hours:.0f} h old ({newest:%d %B %H:%M})."
    )


def _is_test(node: Any) -> bool:
    return str(node.resource_type) in ("test", "unit_test")


def _reads(node: Any) -> list[str]:
    """Unique ids of what a node reads; a seed depends on macros only."""
    return list(getattr(getattr(node, "depends_on", None), "nodes", ()))


def _name(node: Any) -> str:
    """A model's name as people select it: with its version, when it has one."""
    wanted = getattr(node, "version", None)
    return f"{node.name}.v{wanted}" if wanted else str(node.name)


def _types_of(command: str) -> frozenset[str]:
    """The resource types that dbt's `command` executes; `ls` lists more."""
    return {
        "run": frozenset({"model"}),
        "test": frozenset({"test", "unit_test"}),
        "seed": frozenset({"seed"}),
        "snapshot": frozenset({"snapshot"}),
    }.get(command, EXECUTABLE)


def _message(error: BaseException | None) -> str:
    return scrub(str(error).strip()) if error else "dbt gave no reason."


def _refusal(what: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"refused": what, "message": message, "hint": hint}


def _without(arguments: list[str], flag: str) -> list[str]:
    if flag not in arguments:
        return arguments
    at = arguments.index(flag)
    return arguments[:at] + arguments[at + 2 :]


if __name__ == "__main__":
    main(sys.argv[1:])
