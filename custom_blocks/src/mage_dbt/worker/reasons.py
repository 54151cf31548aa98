"""Why a node is in a plan: asked for, upstream or downstream of what was, a test of something.

Pure: what was asked for is dbt's answer, and so are the edges.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

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
    above = {one: _nearest(one, edges, asked) for one in edges}
    readers: dict[str, list[str]] = {}
    for one, reads in edges.items():
        for up in reads:
            readers.setdefault(up, []).append(one)
    below = {one: _nearest(one, readers, asked) for one in edges}
    reasons = {}
    for one, reads in edges.items():
        if one in known:
            reasons[one] = known[one]
        elif one.startswith(("test.", "unit_test.")):
            tested = [_name(up) for up in reads if up in edges] or [_name(up) for up in reads]
            reasons[one] = f"test of {', '.join(tested)}" if tested else "asked for"
        elif one in asked:
            reasons[one] = "asked for"
        elif above[one]:
            reasons[one] = f"downstream of {_name(above[one])}"
        elif below[one]:
            reasons[one] = f"upstream of {_name(below[one])}"
        else:
            reasons[one] = "chosen by dbt"
    return reasons


def _nearest(begin: str, edges: Mapping[str, Sequence[str]], asked: Collection[str]) -> str:
    """The asked node that is the fewest steps away from `begin`, or empty."""
    seen = {begin}
    line = list(edges.get(begin, ()))
    while line:
        one = line.pop(0)
        if one in asked:
            return one
        if one not in seen:
            seen.add(one)
            line += edges.get(one, ())
    return ""


def _name(unique_id: str) -> str:
    """`model.shop.fct_orders` as `fct_orders`; a source as `raw.orders`; no hash of a test."""
    kind, _, *rest = unique_id.split(".")
    return rest[0] if kind == "test" else ".".join(rest)
