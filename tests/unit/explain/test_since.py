"""What changed since a node passed, what is stale, and what was seen before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from mage_dbt.explain.seen import seen
from mage_dbt.explain.since import since
from mage_dbt.explain.stale import exposures_of, stale
from mage_dbt.ledger.failures import Earlier, Pass
from mage_dbt.model.explanation import ChangedFile, ChangesNote, FileRole
from mage_dbt.model.graph import Graph, GraphNode
from mage_dbt.model.run import NodeResult

AT = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
OLD, NEW = "4" * 40, "9" * 40
LAST = Pass("model.p.a", "20261121-230000-4f2a9c", OLD, AT)
FILE = ChangedFile("models/a.sql", FileRole.MODEL, NEW, "Kim", AT, "Rename", "@@")
ROLES = {"models/a.sql": FileRole.MODEL}


def answers(found: tuple[ChangedFile, ...] | None):  # type: ignore[no-untyped-def]
    def changed(old: str, new: str, roles: Mapping[str, str]) -> tuple[ChangedFile, ...] | None:
        assert (old, new, roles) == (OLD, NEW, ROLES)
        return found

    return changed


def test_data_stands_before_a_guess() -> None:
    assert since(None, NEW, ROLES, answers(())).note == ChangesNote.NEVER_PASSED
    assert since(LAST, OLD, ROLES, answers(())).note == "same commit"
    assert since(LAST, NEW, ROLES, answers(())).note == "no code changed"
    changed = since(LAST, NEW, ROLES, answers((FILE,)))
    assert (changed.changes, changed.note) == ((FILE,), "")
    assert since(LAST, NEW, ROLES, answers(None)).note == (
        "unknown: git cannot compare 4444444 with 9999999"
    )
    assert since(LAST, NEW, {}, answers(())).note.startswith("unknown: the graph of 9999999")


def test_relations_are_stale_until_they_pass_and_name_who_reads_them_also_through_others() -> None:
    graph = Graph(
        {
            node.node: node
            for node in (
                GraphNode("model.p.a", "a", "model"),
                GraphNode("model.p.b", "b", "model", reads=("model.p.a",)),
                GraphNode("exposure.p.x", "x", "exposure", label="Board", reads=("model.p.b",)),
                GraphNode("exposure.p.y", "y", "exposure", reads=("model.p.a",)),
            )
        }
    )
    exposures = exposures_of(graph)
    assert exposures == {"model.p.a": ("Board", "y"), "model.p.b": ("Board",)}
    results = [
        NodeResult("model.p.a", "a", "model", "error"),
        NodeResult("model.p.b", "b", "model", "skipped"),
        NodeResult("model.p.e", "e", "model", "skipped", materialized="ephemeral"),
        NodeResult("model.p.c", "c", "model", "skipped"),
        NodeResult("test.p.t", "t", "test", "skipped"),
    ]
    found = stale(results, {"model.p.a": LAST}, {"model.p.c"}, exposures)
    assert [(one.name, one.as_of, one.exposures) for one in found] == [
        ("a", AT, ("Board", "y")),
        ("b", None, ("Board",)),
    ]


def earlier(**changes: object) -> Earlier:
    values = {
        **{"wanted": "s", "run": "r", "at": AT, "total": 3, "node": "model.p.a", "name": "a"},
        **{"failed_commit": OLD, "ended_run": "r2", "ended_commit": NEW, "commit_subject": "Head"},
        **{"caller": "lee", "ended_at": AT + timedelta(minutes=14), **changes},
    }
    return Earlier(**values)  # type: ignore[arg-type]


def test_an_earlier_failure_says_how_it_ended_by_whom_and_with_which_commit() -> None:
    def repaired(node: str, old: str, new: str) -> tuple[str, str, str]:
        return "8" * 40, "Use the new name", "Kim"

    def ended(failure: Earlier, repair: object = repaired, exists: bool = True) -> tuple[str, ...]:
        (found,) = seen([failure], repair, lambda node: exists)  # type: ignore[arg-type]
        return found.ended, found.commit, found.subject, found.author, found.by

    assert ended(earlier()) == ("repaired", "8" * 40, "Use the new name", "Kim", "lee")
    assert ended(earlier(), lambda *_: None) == ("repaired", NEW, "Head", "", "lee")
    assert ended(earlier(ended_commit=OLD)) == ("repaired", "", "", "", "lee")
    still = earlier(ended_at=None, ended_run=None, ended_commit=None, caller=None)
    assert ended(still)[0] == "open"
    assert ended(still, exists=False)[0] == "unknown"
