"""Why a node is in a plan: asked for, upstream or downstream of that, or a test.

What was asked for is dbt's answer, and so are the edges.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

OPERATORS = re.compile(r"^(?:@|\d*\+)?(.*?)(?:\+\d*)?$")
"""dbt's graph operators around one criterion: `@x`, `2+x`, `x+1`."""


def without_operators(criterion: str) -> str:
    """`2+fct_orders,tag:daily+` as `fct_orders,tag:daily`."""
    return ",".join(OPERATORS.sub(r"\1", part) for part in criterion.split(","))


def has_operator(criterion: str) -> bool:
    return without_operators(criterion) != criterion


def why_in(
    edges: Mapping[str, Sequence[str]], asked: Collection[str], known: Mapping[str, str]
) -> dict[str, str]:
    """Why each node of `edges` is in the plan, by unique id; `known` reasons stay.

    `edges` gives what each planned node reads, upstreams first and tests last. A reason names the
    nearest node asked for that it reads, or else the nearest that reads it.
    """
    above = _nearest(edges, edges, asked)
    readers: dict[str, list[str]] = {}
    for node, reads in edges.items():
        for up in reads:
            readers.setdefault(up, []).append(node)
    below = _nearest(reversed(list(edges)), readers, asked)
    reasons = {}
    for node, reads in edges.items():
        if node in known:
            reasons[node] = known[node]
        elif node.startswith(("test.", "unit_test.")):
            tested = [_name(up) for up in reads if up in edges] or [_name(up) for up in reads]
            reasons[node] = f"test of {', '.join(tested)}" if tested else "asked for"
        elif node in asked:
            reasons[node] = "asked for"
        elif node in above:
            reasons[node] = f"downstream of {_name(above[node])}"
        elif node in below:
            reasons[node] = f"upstream of {_name(below[node])}"
        else:
            reasons[node] = "chosen by dbt"
    return reasons


def _nearest(
    order: Iterable[str], edges: Mapping[str, Sequence[str]], asked: Collection[str]
) -> dict[str, str]:
    """The asked node that is the fewest steps of `edges` away, by node, where there is one.

    In `order` a node comes after all that its edges lead to, so each edge is followed once.
    """
    found: dict[str, tuple[int, str]] = {}
    for node in order:
        ways = [
            (1, other) if other in asked else (found[other][0] + 1, found[other][1])
            for other in edges.get(node, ())
            if other in asked or other in found
        ]
        if ways:
            found[node] = min(ways, key=lambda way: way[0])
    return {node: nearest for node, (_, nearest) in found.items()}


def _name(unique_id: str) -> str:
    """`model.shop.fct_orders` as `fct_orders`; a source as `raw.orders`; no hash of a test."""
    kind, _, *rest = unique_id.split(".")
    return rest[0] if kind == "test" else ".".join(rest)
