"""One node of one run: its plan and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mage_dbt.errors import NotFound, RequestError, did_you_mean
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.run import NodeResult

PLANNED = """
select node from ledger.event, jsonb_array_elements(event.data -> 'nodes') as node
where event.seq = (
    select max(seq) from ledger.event where run = %(run)s and kind = 'plan'
)
"""

PLANNED_AS = PLANNED + "and %(node)s in (node ->> 'node', node ->> 'name')"

RESULTS = """
select to_jsonb(node_result) as result, at from ledger.node_result
where run = %(run)s and %(node)s in (node, name)
"""

STARTED = """
select at, data from ledger.event
where run = %(run)s and kind = 'node_started' and data ->> 'node' = %(node)s
order by seq desc limit 1
"""


@dataclass(frozen=True)
class RunNode:
    """A node of a run. A part that has not happened yet is None."""

    node: str
    name: str
    type: str
    planned: PlannedNode | None
    """None for a hook, which is not planned."""
    result: NodeResult | None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    compiled: str = ""
    """Its compiled SQL's file, relative to the run's folder; empty before dbt starts it."""

    @property
    def status(self) -> str:
        """dbt's status when it has finished; before that `running` or `waiting`."""
        if self.result is not None:
            return self.result.status
        return "running" if self.started_at else "waiting"

    def begun(self, event: Mapping[str, Any] | None) -> RunNode:
        """The node with the data of its event `node_started`, if there is one."""
        if event is None:
            return self
        return replace(self, started_at=event["at"], compiled=event["data"].get("compiled", ""))


def choose(
    run: str,
    wanted: str,
    planned: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
) -> RunNode:
    """The node of this run with the unique id or the name `wanted`.

    Raises NotFound, and RequestError when several nodes of the run have the name.
    """
    nodes: dict[str, RunNode] = {}
    for row in planned:
        plan = PlannedNode.from_json(row["node"])
        nodes[plan.node] = RunNode(plan.node, plan.name, plan.type, plan, None)
    for row in results:
        result = NodeResult.from_json(row["result"])
        known = nodes.get(result.node)
        plan_of = known.planned if known else None
        nodes[result.node] = RunNode(
            result.node, result.name, result.type, plan_of, result, finished_at=row["at"]
        )
    if wanted in nodes:
        return nodes[wanted]
    found = [node for node in nodes.values() if node.name == wanted]
    if len(found) > 1:
        raise RequestError(
            f"Run {run} has several nodes called {wanted!r}.",
            f"Name one: {', '.join(node.node for node in found)}.",
        )
    if not found:
        raise NotFound(
            f"Run {run} has no node {wanted[:200]!r}.",
            did_you_mean(wanted, (node.name for node in nodes.values()))
            or f"`GET /v1/runs/{run}` lists its nodes.",
        )
    return found[0]
