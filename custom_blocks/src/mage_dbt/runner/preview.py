"""Adds to a plan what only its reader needs: expected times, and how its commit differs.

Pure except for the ledger's medians; no run waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.commits.history import History
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import SeenPlan
from mage_dbt.model.commit import Commit
from mage_dbt.model.estimate import total_seconds
from mage_dbt.model.plan import Differs, Plan
from mage_dbt.model.refresh import Preview

MOST_NAMED = 10
"""Names in one sentence on a difference; further ones are counted."""


def with_estimates(plan: Plan, ledger: Ledger) -> Plan:
    """The plan with the seconds that each node took lately, and the seconds of all together."""
    known = ledger.estimates(
        [node.node for node in plan.nodes],
        [node.node for node in plan.nodes if node.materialized == "incremental"],
        plan.target,
        "--full-refresh" in plan.flags,
    )
    nodes = tuple(replace(node, estimated_seconds=known.get(node.node)) for node in plan.nodes)
    return replace(
        plan,
        nodes=nodes,
        estimated_seconds=total_seconds(nodes, plan.threads) if known else None,
    )


def with_later_runs(plan: Plan, ledger: Ledger, clock: Clock) -> Plan:
    """The plan of an undo with the runs whose rows it takes back."""
    return replace(
        plan, refresh=tuple(_with_later_runs(preview, ledger, clock) for preview in plan.refresh)
    )


def _with_later_runs(preview: Preview, ledger: Ledger, clock: Clock) -> Preview:
    if preview.kept is None:
        return preview
    since = clock.say_with_zone(preview.kept.at)
    later = ledger.built_since(preview.node, preview.kept.at, preview.kept.run)
    if not later:
        note = f"No run has written it since it was refreshed at {since}."
    else:
        last = clock.say_with_zone(later[-1])
        runs = "1 run has" if len(later) == 1 else f"{len(later)} runs have"
        note = f"{runs} written it since it was refreshed at {since}, the last at {last}: what "
        note += "they added is not in the former table."
    return replace(preview, notes=(*preview.notes, note))


def differs(commit: Commit, newest: Commit | None, history: History) -> Differs | None:
    """How the models' files of `commit` differ from the newest ready commit's; None when it is that
    commit."""
    if newest is None or commit.sha == newest.sha:
        return None
    here = {model.name: model.checksum for model in commit.models}
    there = {model.name: model.checksum for model in newest.models}
    return Differs(
        newest=newest.sha,
        behind=history.distance(commit.sha, newest.sha),
        changed=tuple(sorted(name for name in here.keys() & there if here[name] != there[name])),
        only_here=tuple(sorted(here.keys() - there)),
        only_in_newest=tuple(sorted(there.keys() - here)),
    )


def difference(seen: SeenPlan, plan: Plan) -> str:
    """In words, how the plan that would run differs from the plan that was seen."""
    now = {node.node: node.name for node in plan.nodes}
    parts = []
    if seen.commit != plan.commit:
        parts.append(f"another commit ({seen.commit[:7]} -> {plan.commit[:7]})")
    if came := [name for node, name in now.items() if node not in seen.nodes]:
        parts.append(f"nodes added: {short_list(came, MOST_NAMED)}")
    if gone := [name for node, name in seen.nodes.items() if node not in now]:
        parts.append(f"nodes gone: {short_list(gone, MOST_NAMED)}")
    now_what = plan.what()
    for name in dict.fromkeys((*seen.what, *now_what)):
        before, value = seen.what.get(name), now_what.get(name)
        if before != value and name == "refresh":
            parts.append("the tables to refresh, or what depends on them, have changed")
        elif before != value:
            parts.append(f"other {name} ({_plain(before)} -> {_plain(value)})")
    return "; ".join(parts) or "the same nodes in another order"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(str(item) for item in value) or "none"
    return str(value) or "none"
