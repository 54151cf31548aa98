"""Why a node is in a plan: asked for, upstream or downstream of what was, a test of something.

Pure: what was asked for is dbt's answer, and so are the edges.
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
    """By unique id, why each node of `edges` is in the plan; `known` reasons stay.

    `edges` gives what each planned node reads, upstreams first and tests last. A node is said to
    be downstream of the nearest asked one that it reads, or upstream of the nearest that reads it.
    """
    above = _nearest(edges, edges, asked)
    readers: dict[str, list[str]] = {}
    for one, reads in edges.items():
        for up in reads:
            readers.setdefault(up, []).append(one)
    below = _nearest(reversed(list(edges)), readers, asked)
    reasons = {}
    for one, reads in edges.items():
        if one in known:
            reasons[one] = known[one]
        elif one.startswith(("test.", "unit_test.")):
            tested = [_name(up) for up in reads if up in edges] or [_name(up) for up in reads]
            reasons[one] = f"test of {', '.join(tested)}" if tested else "asked for"
        elif one in asked:
            reasons[one] = "asked for"
        elif one in above:
            reasons[one] = f"downstream of {_name(above[one])}"
        elif one in below:
            reasons[one] = f"upstream of {_name(below[one])}"
        else:
            reasons[one] = "chosen by dbt"
    return reasons


def _nearest(
    order: Iterable[str], edges: Mapping[str, Sequence[str]], asked: Collection[str]
) -> dict[str, str]:
    """By node, the asked one that is the fewest steps of `edges` away; nothing where there is none.

    In `order` a node comes after all that its edges lead to, so each edge is looked at once.
    """
    found: dict[str, tuple[int, str]] = {}
    for node in order:
        ways = [
            (1, one) if one in asked else (found[one][0] + 1, found[one][1])
            for one in edges.get(node, ())
            if one in asked or one in found
        ]
        if ways:
            found[node] = min(ways, key=lambda way: way[0])
    return {node: nearest for node, (_, nearest) in found.items()}


def _name(unique_id: str) -> str:
    """`model.shop.fct_orders` as `fct_orders`; a source as `raw.orders`; no hash of a test."""
    kind, _, *rest = unique_id.split(".")
    return rest[0] if kind == "test" else ".".join(rest)
