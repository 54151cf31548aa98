"""What did not pass in a run, by cause."""

from __future__ import annotations

import pytest

from mage_dbt.explain.groups import Group, grouped
from mage_dbt.explain.refused import failure_of_run
from mage_dbt.model.failure import FailureClass, object_of
from mage_dbt.model.run import NodeResult

COLUMN = 'column "{}" does not exist'


def failed(name: str, message: str, sqlstate: str = "42703", kind: str = "model") -> NodeResult:
    status = "error" if kind == "model" else "fail"
    return NodeResult(f"{kind}.p.{name}", name, kind, status, message=message, sqlstate=sqlstate)


def skipped(
    name: str, because: str = "", kind: str = "model", message: str = "", package: str = "p"
) -> NodeResult:
    node = f"{kind}.{package}.{name}"
    return NodeResult(node, name, kind, "skipped", message=message, because=because)


def names(group: Group) -> tuple[list[str], list[str]]:
    return [node.name for node in group.failed], [node.name for node in group.skipped]


def test_nodes_that_miss_one_column_are_one_cause_and_another_column_is_another() -> None:
    results = [
        failed("a", COLUMN.format("x")),
        failed("b", COLUMN.format("y")),
        failed("c", COLUMN.format("x")),
        skipped("d", "c"),
    ]
    assert [names(group) for group in grouped(results, {})] == [(["a", "c"], ["d"]), (["b"], [])]


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("42P01", 'relation "raw.{}" does not exist'),
        ("3F000", 'schema "{}" does not exist'),
        ("42501", "permission denied for table {}"),
    ],
)
def test_many_objects_that_are_missing_or_forbidden_are_one_cause_and_few_are_one_each(
    sqlstate: str, message: str
) -> None:
    results = [failed(name, message.format(f"t_{name}"), sqlstate) for name in "abc"]
    again = failed("d", message.format("t_a"), sqlstate)
    (group,) = grouped([*results, again, skipped("e", "b")], {})
    assert names(group) == (["a", "b", "c", "d"], ["e"])
    objects = [object_of(result).removeprefix("raw.") for result in group.failed]
    assert objects == ["t_a", "t_b", "t_c", "t_a"]
    assert len(grouped(results[:2], {})) == 2
    # Another kind of failure beside them is a cause of its own.
    assert len(grouped([*results, failed("x", COLUMN.format("x"))], {})) == 2


def test_a_group_of_many_objects_has_an_object_for_each_of_its_nodes() -> None:
    tables = [failed(name, f"permission denied for table t_{name}", "42501") for name in "abc"]
    views = [failed(name, f"permission denied for view v_{name}", "42501") for name in "de"]
    alias = [
        failed(name, f'missing FROM-clause entry for table "{name}"', "42P01") for name in "fgh"
    ]
    others = [failed(name, f"permission denied for function f_{name}", "42501") for name in "ijk"]
    groups = grouped([*tables, *views, *alias, *others], {})
    assert [len(group.failed) for group in groups] == [3, *[1] * 8]
    assert [object_of(result) for result in groups[0].failed] == ["t_a", "t_b", "t_c"]


def test_few_objects_are_one_cause_each_however_many_nodes_use_them() -> None:
    results = [
        failed(f"{name}{table}", f'relation "{table}" does not exist', "42P01")
        for name in "abc"
        for table in ("x", "y")
    ]
    assert [len(group.failed) for group in grouped(results, {})] == [3, 3]


def test_many_columns_that_are_missing_are_each_a_cause() -> None:
    assert len(grouped([failed(name, COLUMN.format(name)) for name in "abcd"], {})) == 4


def test_most_models_that_wait_come_first_whatever_else_failed() -> None:
    tests = [skipped(f"t{n}", "a", "test") for n in range(9)]
    models = [skipped(f"m{n}", "b") for n in range(2)]
    results = [failed("a", COLUMN.format("x")), failed("b", COLUMN.format("y")), *tests, *models]
    assert [group.failed[0].name for group in grouped(results, {})] == ["b", "a"]


def test_where_two_failed_nodes_have_one_name_the_graph_says_for_which_a_node_waits() -> None:
    first, second = (
        failed("v", COLUMN.format("x")),
        NodeResult(
            "model.q.v", "v", "model", "error", message=COLUMN.format("y"), sqlstate="42703"
        ),
    )
    results = [first, second, skipped("middle", "v"), skipped("end", "v")]
    reads = {"model.p.end": ["model.p.middle"], "model.p.middle": ["model.q.v"]}
    groups = {group.failed[0].node: names(group)[1] for group in grouped(results, reads)}
    assert groups == {"model.q.v": ["middle", "end"], "model.p.v": []}


def test_a_model_after_a_failed_test_waits_for_the_test() -> None:
    test = failed("unique_a", "Got 3 results, configured to fail if != 0", "", "test")
    reads = {"test.p.unique_a": ["model.p.a"], "model.p.b": ["model.p.a"]}
    (group,) = grouped([test, skipped("b")], reads)
    assert names(group) == (["unique_a"], ["b"])


def test_what_a_cut_off_run_did_not_reach_belongs_to_what_it_was_in_the_middle_of() -> None:
    cut = failed("a", "the runner was stopped", "")
    results = [cut, skipped("b", message="Not reached: the runner was stopped")]
    (group,) = grouped(results, {})
    assert names(group) == (["a"], ["b"])


def test_what_was_not_reached_without_a_failure_has_the_reason() -> None:
    results = [skipped(name, message="Not reached: cancelled by kim") for name in ("a", "b")]
    (group,) = grouped(results, {})
    assert (names(group), group.reason) == (([], ["a", "b"]), "cancelled by kim")


def test_what_somebody_stopped_is_one_cause_beside_what_had_failed_before() -> None:
    cut = failed("slow", "cancelled by kim\n\nserver closed the connection unexpectedly", "")
    results = [
        failed("a", COLUMN.format("x")),
        skipped("b", "a"),
        cut,
        skipped("c", "slow"),
        skipped("d", message="Not reached: cancelled by kim"),
    ]
    reads = {"model.p.b": ["model.p.a"], "model.p.c": ["model.p.slow"]}
    first, second = grouped(results, reads, "Cancelled by kim.")
    assert names(first) == (["a"], ["b"])
    assert (names(second), second.reason) == (([], ["slow", "c", "d"]), "Cancelled by kim.")
    (alone,) = grouped([], {}, "Cancelled by kim.")
    assert (names(alone), alone.reason) == (([], []), "Cancelled by kim.")


def test_everything_is_skipped_because_of_a_failed_hook() -> None:
    hook = NodeResult("operation.p.start", "start", "operation", "error", message="no such role")
    (group,) = grouped([hook, skipped("a"), skipped("b")], {"model.p.b": ["model.p.a"]})
    assert names(group) == (["start"], ["a", "b"])


def test_a_loop_and_a_hundred_thousand_edges_end() -> None:
    reads = {f"model.p.m{n}": [f"model.p.m{(n + 1) % 3000}"] for n in range(3000)}
    results = [skipped(f"m{n}") for n in range(200)]
    (group,) = grouped(results, reads)
    assert len(group.skipped) == 200


def test_a_run_without_a_failed_node_is_an_accident_or_refused() -> None:
    for reason in (
        "Cancelled: the runner was stopped.",
        "dbt's process ended early: killed by signal 9",
        "The runner failed: OSError: no space left on device",
    ):
        assert failure_of_run(reason).failure_class is FailureClass.INFRASTRUCTURE, reason
    for reason in ('No model "fct_order" in dbt-metric at 3f2c1ab.', "3f2c1ab does not parse: x"):
        failure = failure_of_run(reason)
        assert (failure.failure_class, failure.title) == (FailureClass.CODE, reason)
    assert failure_of_run("").title
