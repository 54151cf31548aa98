"""What kept a node from running is what failed nearest to it, and finding it takes no longer for
the last of many skipped nodes than for the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mage_dbt.dbt.results.failures import Causes

READS: dict[str, list[str]] = {
    "model.broken": [],
    "model.next": ["model.broken"],
    "model.last": ["model.next", "model.apart"],
    "model.apart": [],
    "test.on_apart": ["model.apart"],
    "model.tested": ["model.apart"],
    "unit_test.of_own": ["model.own"],
    "model.own": [],
    "model.not_planned": ["model.broken"],
    "model.beyond": ["model.not_planned"],
}


def after(
    statuses: Mapping[str, str], reads: Mapping[str, Sequence[str]] = READS
) -> tuple[Causes, dict[str, str]]:
    """The causes of the skipped ones, in the order in which dbt tells of the nodes."""
    causes = Causes(lambda one: reads.get(one, ()))
    found = {}
    for node, status in statuses.items():
        if status == "skipped":
            found[node] = causes.of(node)
        causes.finished(node, status)
    return causes, found


def test_the_nearest_that_failed_is_the_cause_down_the_whole_chain() -> None:
    _, found = after(
        {"model.apart": "success", "model.broken": "error"}
        | dict.fromkeys(("model.next", "model.last"), "skipped")
    )
    assert found == {"model.next": "model.broken", "model.last": "model.broken"}


def test_a_test_that_failed_on_what_a_node_reads_or_on_itself_is_its_cause() -> None:
    _, found = after(
        {"model.apart": "success", "test.on_apart": "fail", "unit_test.of_own": "error"}
        | dict.fromkeys(("model.tested", "model.own"), "skipped")
    )
    assert found == {"model.tested": "test.on_apart", "model.own": "unit_test.of_own"}


def test_a_cause_is_found_beyond_a_node_that_the_run_does_not_hold() -> None:
    _, found = after({"model.broken": "error", "model.beyond": "skipped"})
    assert found == {"model.beyond": "model.broken"}


def test_what_reads_directly_what_failed_does_not_get_the_cause_of_its_neighbour() -> None:
    reads = {"a": [], "b": [], "skipped": ["a"], "both": ["skipped", "b"]}
    _, found = after({"a": "error", "b": "error", "skipped": "skipped", "both": "skipped"}, reads)
    assert found == {"skipped": "a", "both": "b"}


def test_a_hook_at_the_start_is_the_cause_of_what_nothing_else_kept_from_running() -> None:
    causes, found = after({"operation.start": "error", "model.apart": "skipped"})
    assert found == {"model.apart": "operation.start"} and causes.any_failed
    causes, found = after({"model.apart": "skipped"})
    assert found == {"model.apart": ""} and not causes.any_failed


def test_each_skipped_node_asks_its_neighbours_alone() -> None:
    """Of 5,000 in a chain, each read list is looked at once or twice; it was 12 million times."""
    asked = 0
    chain = [f"model.m{n}" for n in range(5000)]

    def reads(one: str) -> list[str]:
        nonlocal asked
        asked += 1
        number = int(one.removeprefix("model.m"))
        return [chain[number - 1]] if number else []

    causes = Causes(reads)
    causes.finished(chain[0], "error")
    for one in chain[1:]:
        assert causes.of(one) == chain[0]
        causes.finished(one, "skipped")
    assert asked <= 2 * len(chain)
