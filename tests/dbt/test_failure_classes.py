"""Twelve kinds of failure on a real PostgreSQL: their class, SQLSTATE, title and signature."""

from __future__ import annotations

import pytest

from mage_dbt.model.failure import FailureClass, cause_key, failure_of
from mage_dbt.model.run import NodeResult, Run, RunState
from tests.harness.runner import Runner

PROJECT = "twelve_failures"

INFRASTRUCTURE, CODE, DATA, *_ = FailureClass

UNDEFINED_MACRO = (
    "is undefined. This can happen when calling a macro that does not exist. Check for typos "
    'and/or install package dependencies with "dbt deps".'
)

KINDS = [
    ("missing_column", CODE, "42703", "column orders.discount_codes does not exist"),
    ("missing_relation", CODE, "42P01", 'relation "raw.discounts" does not exist'),
    (
        *("statement_timeout", INFRASTRUCTURE, "57014"),
        "canceling statement due to statement timeout",
    ),
    ("deadlock", INFRASTRUCTURE, "40P01", "deadlock detected"),
    ("lost_connection", INFRASTRUCTURE, "08006", "server closed the connection unexpectedly"),
    (
        *("out_of_disk", INFRASTRUCTURE, "53100"),
        "could not write to COPY file: No space left on device",
    ),
    ("division_by_zero", DATA, "22012", "division by zero"),
    ("unique_violation", DATA, "23505", "could not create unique index "),
    ("not_null_customers_name", DATA, "", "the test found 1 row"),
    ("source_recent_raw_payments_loaded_at__24", DATA, "", "the test found 1 row"),
    ("compilation", CODE, "", f"'share_of' {UNDEFINED_MACRO}"),
    ("package_macro", CODE, "", "There is no rate for the currency 'XAU'"),
]

SAME_KIND = [
    ("missing_column", "missing_column_again"),
    ("missing_column", "missing_column_too"),
    ("missing_relation", "missing_relation_too"),
    ("lost_connection", "lost_connection_too"),
    ("division_by_zero", "division_by_zero_too"),
    ("unique_violation", "unique_violation_too"),
    ("not_null_customers_name", "not_null_suppliers_title"),
    ("source_recent_raw_payments_loaded_at__24", "source_recent_raw_refunds_loaded_at__30"),
    ("compilation", "compilation_too"),
    ("package_macro", "package_macro_too"),
]

ONE_CAUSE = [SAME_KIND[0], SAME_KIND[3]]


@pytest.fixture(scope="module")
def failed(runner: Runner) -> Run:
    """One build, on four threads, in which all twelve fail."""
    runner.server.admin("grant pg_write_server_files to {}", "dbt")
    run = runner.run(variables={"failing": ["all"]})
    assert run.state is RunState.ERROR
    return run


def of(run: Run, name: str) -> NodeResult:
    return next(node for node in run.nodes if node.name == name)


@pytest.mark.parametrize(("name", "kind", "sqlstate", "title"), KINDS)
def test_each_kind_of_failure_has_its_class_its_sqlstate_and_a_title(
    failed: Run, name: str, kind: FailureClass, sqlstate: str, title: str
) -> None:
    node = of(failed, name)
    failure = failure_of(node)
    assert (failure.failure_class, node.sqlstate) == (kind, sqlstate), node.message
    assert failure.title.startswith(title)


def test_what_failed_and_nothing_else_has_a_signature_in_the_ledger(failed: Run) -> None:
    known = {name for name, *_ in KINDS} | {name for pair in SAME_KIND for name in pair}
    assert {node.name for node in failed.nodes if node.failed} == known
    for node in failed.nodes:
        assert bool(node.signature) == node.failed, node.name
        assert not node.sqlstate or node.failed, node.name


@pytest.mark.parametrize(("name", "other"), SAME_KIND)
def test_failures_of_one_kind_on_two_nodes_have_one_signature(
    failed: Run, name: str, other: str
) -> None:
    assert of(failed, name).signature == of(failed, other).signature


def test_failures_of_two_kinds_have_two_signatures(failed: Run) -> None:
    assert len({of(failed, name).signature for name, *_ in KINDS}) == len(KINDS)


def test_only_what_names_the_same_object_or_lost_the_server_is_one_cause(failed: Run) -> None:
    keys = {node.name: cause_key(node) for node in failed.nodes if node.failed}
    together = {pair for pair in SAME_KIND if keys[pair[0]] == keys[pair[1]]}
    assert together == set(ONE_CAUSE)
    assert len(set(keys.values())) == len(keys) - len(ONE_CAUSE)


def test_a_unique_index_of_dbts_is_named_by_the_rows_that_it_does_not_take(failed: Run) -> None:
    title = failure_of(of(failed, "unique_violation")).title
    assert ": Key (customer)=(" in title and title.endswith(") is duplicated.")


def test_without_the_variable_everything_passes(runner: Runner, failed: Run) -> None:
    run = runner.run()
    assert run.state is RunState.SUCCESS, run.detail
    assert not any(node.sqlstate or node.signature for node in run.nodes)
