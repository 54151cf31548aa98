"""No test fails because time passed: a machine may be slow, and that is no fault."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT
from tests.harness.waiting import SECONDS

POSITION = {
    **dict.fromkeys(("wait", "join", "result", "settimeout"), 0),
    **dict.fromkeys(("over", "wait_until_ended", "create_connection", "wait_for_output"), 1),
    "wait_until": 2,
}
"""Which argument of what waits is its deadline; elsewhere it is called `timeout`."""

POLL = 1.0
"""So short are pauses of a loop, which are no deadlines."""

GENEROUS = 60.0
"""An upper bound of what the clock has measured is at least this."""

SPENT = re.compile(
    r"\btime\.(monotonic|time)\(\) - |\bperf_counter\(\) - |\b(longest|took|elapsed|\w*seconds)$"
)

HAS_TO_PASS = "# has to pass"
"""The mark of a deadline that the test waits out."""

HTTP = {"Client", "AsyncClient", "delete", "get", "patch", "post", "put", "request", "stream"}


def number(node: ast.expr | None, constants: dict[str, float]) -> float | None:
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    return None


def deadline(call: ast.Call, constants: dict[str, float]) -> float | None:
    """Seconds that a call waits by a number of its own."""
    called = ast.unparse(call.func).rpartition(".")[2]
    found = next((each.value for each in call.keywords if each.arg == "timeout"), None)
    position = POSITION.get(called)
    if found is None and position is not None and len(call.args) > position:
        found = call.args[position]
    return number(found, constants)


def is_bound(compare: ast.Compare) -> bool:
    """Whether something that the clock has measured must be less than a small number."""
    left, right = compare.left, compare.comparators[0]
    if isinstance(compare.ops[0], ast.Gt | ast.GtE):
        left, right = right, left
    elif not isinstance(compare.ops[0], ast.Lt | ast.LtE):
        return False
    most = number(right, {})
    return most is not None and most < GENEROUS and bool(SPENT.search(ast.unparse(left)))


def faults(source: str) -> Iterator[str]:
    lines, tree = source.splitlines(), ast.parse(source)
    constants: dict[str, float] = {}
    for top in tree.body:
        match top:
            case ast.Assign([ast.Name(name)], ast.Constant() as value):
                constants[name] = number(value, {}) or 0.0
    asserted = [one.test for one in ast.walk(tree) if isinstance(one, ast.Assert)]
    for node in (one for test in asserted for one in ast.walk(test)):
        if isinstance(node, ast.Compare) and is_bound(node):
            yield f"{node.lineno}: {ast.unparse(node)}"
    for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
        if HAS_TO_PASS in "".join(lines[call.lineno - 1 : call.end_lineno]):
            continue
        seconds = deadline(call, constants)
        if seconds is not None and POLL < seconds < SECONDS:
            yield f"{call.lineno}: waits {seconds:g} s"
        names = ast.unparse(call.func).split(".")
        keywords = {one.arg for one in call.keywords}
        if names[0] == "httpx" and names[-1] in HTTP and "timeout" not in keywords:
            yield f"{call.lineno}: httpx waits 5 s unless it is given a timeout"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("wait_until('it', probe, 30)", 1),
        ("wait_until('it', probe)", 0),
        ("SOON = 5.0\nprocess.wait(SOON)", 1),
        ("while not over.wait(0.1): pass", 0),
        ("http.get('/', timeout=2)", 1),
        ("http.get('/', timeout=2)  # has to pass", 0),
        ("httpx.get('/')", 1),
        ("assert time.monotonic() - began < 10", 1),
        ("assert 10 > time.time() - began", 1),
        ("assert time.monotonic() - began >= 0.9", 0),
        ("assert readers.longest < 3", 1),
        ("assert time.process_time() - began < 15.0", 0),
    ],
)
def test_a_deadline_of_a_tests_own_is_found(source: str, count: int) -> None:
    assert len(list(faults(source))) == count


def test_no_test_waits_for_less_than_all_others_do() -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}:{fault}"
        for path in sorted((CHECKOUT / "tests").rglob("*.py"))
        if path != Path(__file__)
        for fault in faults(path.read_text())
    ]
    assert not found, "\n".join(["Leave the number out; waiting.SECONDS is for all.", *found])
