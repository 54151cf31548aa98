"""Why a run failed: real runs of `tests/projects/explained`, by its API, the tool and an alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from mage_dbt.errors import NotFound
from mage_dbt.model.explanation import Cause, Explanation
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.run import Run, RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

STAGED = "select id, amount as discount_code from {{ source('raw', 'orders') }}\n"
RENAMED = STAGED.replace("discount_code", "code")
SHARES = "select id, 100 / discount_code as share from {{ ref('stg_orders') }}\n"

HOSTILE = "Rename \x1b[31mdiscount code <script>"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("explained")
    with runners.on_project(folder, server, "explained", **runners.due_at_midnight()) as found:
        found.execute("create schema raw")
        found.execute("create table raw.orders as select 1 as id, 10 as amount")
        yield found


@pytest.fixture(scope="module")
def daily(runner: Runner) -> Run:
    return runner.daily_build()


@pytest.fixture(scope="module")
def renamed(runner: Runner, daily: Run) -> Run:
    """A build after a commit that renamed a column upstream."""
    runner.publish(HOSTILE, stg_orders=RENAMED)
    return runner.run(caller="kim")


def only(explanation: Explanation) -> Cause:
    (cause,) = explanation.causes
    return cause


def test_a_run_that_passed_has_no_cause_and_an_unknown_one_is_not_found(
    runner: Runner, daily: Run
) -> None:
    assert runner.client.explanation(daily.id).causes == ()
    with pytest.raises(NotFound):
        runner.client.explanation("20200101-000000-000000")


def test_two_nodes_that_miss_one_column_are_one_cause_with_the_commit_that_renamed_it(
    runner: Runner, daily: Run, renamed: Run
) -> None:
    explanation = runner.client.explanation(renamed.id)
    cause = only(explanation)
    assert (cause.failure_class, cause.sqlstate) == (FailureClass.CODE, "42703")
    assert "discount_code" in cause.title and "does not exist" in cause.title
    assert {node.name for node in cause.nodes} == {"fct_orders", "shares"}
    assert set(cause.waiting) == {"daily_revenue", "rpt_sales", "after_shares"}
    assert cause.waiting_tests == 1
    assert cause.passed and (cause.passed.run, cause.passed.commit) == (daily.id, daily.commit)
    (change,) = cause.changes
    assert (change.path, change.role) == ("models/stg_orders.sql", "upstream")
    assert (change.commit, change.author) == (renamed.commit, "Kim")
    assert "-select id, amount as discount_code" in change.diff
    assert "+select id, amount as code" in change.diff
    assert cause.changes_note == "" and cause.seen == () and cause.history == ()


def test_the_line_of_the_compiled_sql_is_the_one_that_the_database_means(
    runner: Runner, renamed: Run
) -> None:
    nodes = {node.name: node for node in only(runner.client.explanation(renamed.id)).nodes}
    node = nodes["fct_orders"]
    assert node.line == 3 and node.excerpt_from == 1
    assert node.excerpt[2].strip() == "orders.discount_code"
    assert node.path == "models/fct_orders.sql"


def test_what_waits_is_as_of_the_last_pass_and_says_which_exposures_read_it(
    runner: Runner, daily: Run, renamed: Run
) -> None:
    explanation = runner.client.explanation(renamed.id)
    stale = {relation.name: relation for relation in only(explanation).stale}
    assert set(stale) == {"fct_orders", "shares", "daily_revenue", "rpt_sales", "after_shares"}
    assert all(
        daily.asked_at < (found.as_of or renamed.asked_at) < renamed.asked_at
        for found in stale.values()
    )
    assert stale["fct_orders"].exposures == stale["rpt_sales"].exposures == ("Board dashboard",)
    assert stale["after_shares"].exposures == ()
    assert explanation.left == 6
    assert explanation.whole_at is None, "a rerun on the same commit fails again"
    assert explanation.rerun_seconds, "and takes its time nevertheless"
    assert explanation.over_by is None


def test_the_tool_tells_the_causes_from_the_same_source(runner: Runner, renamed: Run) -> None:
    text = runner.tool("show", renamed.id)
    assert "Cause 1 of 1, code: somebody has to change it (SQLSTATE 42703)" in text
    assert "changed   models/stg_orders.sql in " in text
    assert '"Rename [31mdiscount code <script>"' in text and "\x1b" not in text
    assert "+select id, amount as code" in text
    assert "read by Board dashboard" in text
    assert "6 nodes left." in text and "Rerun now" not in text


@pytest.fixture(scope="module")
def again(runner: Runner, renamed: Run) -> Run:
    """The same once more, on the same commit."""
    return runner.run(caller="lee")


def test_the_same_again_was_seen_before_and_is_open(
    runner: Runner, renamed: Run, again: Run
) -> None:
    cause = only(runner.client.explanation(again.id))
    (seen,) = cause.seen
    assert (seen.run, seen.ended, seen.after_seconds) == (renamed.id, "open", None)
    assert cause.seen_total == 1
    assert cause.changes and cause.changes[0].commit == renamed.commit


def test_a_repair_is_known_to_the_failures_before_it(
    runner: Runner, renamed: Run, again: Run
) -> None:
    repair = runner.publish("Give the column its name back", stg_orders=STAGED)
    offered = runner.client.explanation(renamed.id)
    assert offered.whole_at and offered.whole_at > datetime.now(UTC)
    assert "6 nodes left. Rerun now it would be whole at " in runner.tool("show", renamed.id)
    fixed = runner.run(caller="lee")
    assert fixed.state is RunState.SUCCESS, fixed.detail
    explanation = runner.client.explanation(renamed.id)
    assert (explanation.left, explanation.whole_at) == (0, None)
    assert only(explanation).stale == ()
    assert "All of it has passed since." in runner.tool("show", renamed.id)
    (seen,) = only(runner.client.explanation(again.id)).seen
    assert (seen.run, seen.ended, seen.by) == (renamed.id, "repaired", "lee")
    assert (seen.commit, seen.author) == (repair, "Kim")
    assert seen.subject == "Give the column its name back"
    assert seen.after_seconds and seen.after_seconds > 0


def test_on_the_same_commit_the_rows_of_the_last_daily_builds_stand_there(
    runner: Runner, daily: Run
) -> None:
    runner.execute("insert into raw.orders values (2, 0)")
    run = runner.run(caller="kim")
    explanation = runner.client.explanation(run.id)
    cause = only(explanation)
    assert (cause.failure_class, cause.sqlstate) == (FailureClass.DATA, "22012")
    assert cause.changes == () and cause.changes_note == "same commit"
    rows = {day.name: (day.day, day.rows) for day in cause.history}
    assert rows == {"shares": (daily.morning, 1), "stg_orders": (daily.morning, 1)}
    runner.execute("delete from raw.orders where id = 2")


def test_a_failing_test_is_the_node_and_its_models_files_are_looked_at(
    runner: Runner, daily: Run
) -> None:
    twice = STAGED + "union all select 1, 10 union all select 7, 70 union all select 7, 70\n"
    runner.publish("Load orders twice", stg_orders=twice)
    run = runner.run(caller="kim")
    cause = only(runner.client.explanation(run.id))
    assert cause.failure_class is FailureClass.DATA
    (node,) = cause.nodes
    assert (node.type, node.tested) == ("test", "stg_orders")
    assert [change.role for change in cause.changes] == ["model"]
    assert {"fct_orders", "shares", "rpt_sales"} <= set(cause.waiting)
    assert "stg_orders" not in {relation.name for relation in cause.stale}
    assert cause.failing_rows and cause.failing_rows.node == node.node
    assert all(row.new is None for row in cause.failing_rows.rows)


def test_a_run_without_a_failed_node_has_a_cause_too(runner: Runner, daily: Run) -> None:
    run = runner.run(select="no_such_model", caller="kim")
    cause = only(runner.client.explanation(run.id))
    assert (cause.failure_class, cause.nodes) == (FailureClass.CODE, ())
    assert "no_such_model" in cause.title


STRICT = """{{ config(materialized="incremental", on_schema_change="fail") }}
select 1 as id"""

HOOKED = """{{ config(post_hook="select 1 / 0 -- at its end") }}
select 1 as id"""

SEEDS = """
seeds: {explained: {codes: {+column_types: {code: integer}}}}
on-run-end: ["select 2 / 0"]
"""


@pytest.fixture(scope="module")
def others(runner: Runner, daily: Run) -> tuple[Run, dict[str, Cause]]:
    """A build in which fail: a model's hook, the project's hook, a seed, and a model whose columns
    have changed; and the causes by node."""
    runner.publish("Load orders once", stg_orders=STAGED, strict=STRICT)
    assert runner.run(select="strict").state is RunState.SUCCESS
    seeds = runner.repository / "seeds"
    seeds.mkdir()
    (seeds / "codes.csv").write_text("id,code\n1,7\n2,seven\n")
    project = runner.repository / "dbt_project.yml"
    project.write_text(project.read_text() + SEEDS)
    runner.commit("Add codes and hooks", hooked=HOOKED, strict=f"{STRICT}, 2 as price")
    runner.publish("Change something else", apart="select 1 as id")
    run = runner.run(caller="kim")
    causes = runner.client.explanation(run.id).causes
    return run, {cause.nodes[0].name: cause for cause in causes}


def test_a_hook_that_fails_is_code_and_says_whose_it_is(
    others: tuple[Run, dict[str, Cause]],
) -> None:
    _, causes = others
    hooked, of_project = causes["hooked"], causes["explained-on-run-end-0"]
    for cause in (hooked, of_project):
        assert (cause.failure_class, cause.sqlstate) == (FailureClass.CODE, "22012")
        assert "has to change it" in cause.advice and cause.title == "division by zero"
    assert hooked.sentence == "A hook of hooked failed."
    assert hooked.nodes[0].hint == "The statement is a hook of hooked: select 1 / 0 -- at its end"
    assert of_project.sentence == "explained-on-run-end-0 failed, a hook of the project."
    assert of_project.nodes[0].hint.endswith("a hook of the project explained: select 2 / 0")


def test_the_file_of_a_seed_is_code(others: tuple[Run, dict[str, Cause]]) -> None:
    cause = others[1]["codes"]
    assert (cause.failure_class, cause.sqlstate) == (FailureClass.CODE, "22P02")
    assert cause.sentence.startswith("The file of the seed codes has a value")
    assert "correct the file" in cause.advice


def test_what_never_passed_says_with_which_commit_it_came(
    runner: Runner, others: tuple[Run, dict[str, Cause]]
) -> None:
    run, causes = others
    for name, path, role in (
        ("hooked", "models/hooked.sql", "model"),
        ("codes", "seeds/codes.csv", "seed"),
        ("explained-on-run-end-0", "dbt_project.yml", "project"),
    ):
        came = causes[name].came
        assert came and (came.path, came.role) == (path, role)
        assert (came.subject, came.author) == ("Add codes and hooks", "Kim")
        assert came.commit != run.commit
    assert causes["strict"].came is None
    text = runner.tool("show", run.id)
    assert "models/hooked.sql in " in text and '"Add codes and hooks"' in text


def test_a_model_whose_columns_changed_waits_for_a_refresh(
    runner: Runner, others: tuple[Run, dict[str, Cause]]
) -> None:
    run, causes = others
    cause = causes["strict"]
    assert cause.sentence == "strict has other columns than its table."
    assert "refresh" in cause.advice and cause.refresh == "model.explained.strict"
    assert [found.refresh for found in causes.values()].count("") == 3
    assert "run full_refresh --model strict" in runner.tool("show", run.id)
    address = f"{runner.settings.page_address}/runs/{run.id}"

    def offered() -> bool | str:  # the cards come later where they take long
        text = httpx.get(address, timeout=SECONDS, trust_env=False).text
        button = "/ask/refresh?model=model.explained.strict" in text
        return (button and "Refresh strict" in text) or text

    wait_until("the card to offer the refresh", offered)
    project = runner.repository / "dbt_project.yml"
    project.write_text(project.read_text().replace("2 / 0", "2"))
    runner.publish("Repair the hook of the project")
    assert runner.client.explanation(run.id).whole_at is None, "on no version it passes by itself"
    assert runner.run(operation="full_refresh", models=["strict"]).state is RunState.SUCCESS
    text = httpx.get(address, timeout=SECONDS, trust_env=False).text
    assert "/ask/refresh?model=model.explained.strict" not in text
    assert "run full_refresh --model" not in runner.tool("show", run.id), "it is done"
    assert {found.refresh for found in runner.client.explanation(run.id).causes} == {""}
