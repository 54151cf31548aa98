"""What is so of a commit is asked of the graph that runs: its variables, environment and target.

The project is one that a text search misreads: a target, a profile and a folder of packages written
as Jinja, variables that are read in a package or in profiles.yml, nodes that a variable or the
environment enables. WORKSPACE_HOME is a link, as /home often is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from mage_dbt.errors import NothingLeft
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.repository import PROJECTS, git, git_commit
from tests.harness.runner import Runner


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("facts")
    shutil.copytree(PROJECTS / "facts" / "profiles", folder / "profiles")
    (folder / "real").mkdir()
    (folder / "linked").symlink_to("real")
    given = {"DBT_METRIC_SUBDIR": "dbt/shop", "DBT_PROFILES_DIR": str(folder / "profiles")}
    with runners.on_project(folder / "linked", server, "facts", **given) as found:
        yield found


@pytest.fixture(autouse=True)
def books(runner: Runner) -> None:
    """While there is no book, every model that counts them divides by zero."""
    runner.execute("drop table if exists public.books; create table public.books (id int)")


def add_a_book(runner: Runner) -> None:
    runner.execute("insert into public.books values (1)")


def statuses(run: Run) -> dict[str, str]:
    return {one.name: one.status for one in run.nodes}


def test_target_and_packages_are_where_dbt_says(runner: Runner) -> None:
    assert runner.client.status().to_json()["live"]["target"] == "dev"
    run = runner.run(select="where_am_i from_package")
    assert run.state is RunState.SUCCESS, run.detail
    assert run.target == "dev"
    assert runner.query("select * from dev.where_am_i") == [("dev", "dev")]
    assert runner.query("select word from dev.from_package") == [("first",)]


def test_a_package_in_the_repository_is_that_of_the_commit(runner: Runner) -> None:
    """Pinned by package-lock.yml, so what an earlier commit brought is taken from the store."""
    macro = runner.repository / "dbt" / "shared" / "macros" / "shared.sql"
    macro.write_text(macro.read_text().replace("first", "second"))
    runner.live(git_commit(runner.repository, "Another word"))
    assert runner.run(select="from_package").state is RunState.SUCCESS
    assert runner.query("select word from dev.from_package") == [("second",)]
    kept = [one for one in runner.home.packages.rglob("*") if "shared" in one.name]
    assert kept == [], "the store holds what lies in a commit"


def test_a_variable_is_taken_wherever_dbt_reads_it(runner: Runner) -> None:
    """In a package of the repository, in profiles.yml, behind a blank, only with `has_var`."""
    given = {"days_back": 7, "schema": "tmp", "blank_days": 8, "feature": 1, "blank_dayz": 9}
    run = runner.run(select="from_package where_am_i blank asks_whether", variables=given)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select days from tmp.from_package") == [(7,)]
    assert runner.query("select schema from tmp.where_am_i") == [("tmp",)]
    assert runner.query("select days from tmp.blank") == [(8,)]
    assert runner.query("select feature from tmp.asks_whether") == [("yes",)]
    # One that nothing seems to read is said, and not refused: only dbt knows.
    said = [text for text in run.warnings if "seems to read" in text]
    assert len(said) == 1 and "blank_dayz" in said[0] and "blank_days" in said[0]


@pytest.mark.parametrize("select", ["finance orders", "finance"])
def test_what_the_runs_variables_enable_runs_again(runner: Runner, select: str) -> None:
    failed = runner.run(select=select, variables={"with_finance": True})
    assert failed.state is RunState.ERROR and statuses(failed)["finance"] == "error"
    add_a_book(runner)
    rerun = runner.run(operation="rerun_failed", of=failed.id)
    assert rerun.state is RunState.SUCCESS, rerun.detail
    assert set(statuses(rerun)) == set(select.split())
    assert not [note for note in rerun.notes if "left out" in note]
    assert runner.query("select x from dev.finance") == [(1,)]
    runner.execute("drop table dev.finance")


def test_environment_and_target_are_those_of_now_and_a_rerun_stays_on_its_roots(
    runner: Runner,
) -> None:
    failed = runner.run(select="orders")
    assert failed.target == "dev" and statuses(failed) == {"orders": "error"}
    assert "seasonal" not in listed(runner)

    runner.restart_runner(DBT_SEASON="yes", DBT_WHERE="prod")
    runner.live(git(runner.repository, "rev-parse", "HEAD"))
    assert runner.client.status().to_json()["live"]["target"] == "prod"
    assert "seasonal" in listed(runner)
    seasonal = runner.run(select="seasonal")
    assert seasonal.target == "prod" and statuses(seasonal) == {"seasonal": "error"}
    again = Request.parse({"operation": "rerun_failed", "of": failed.id})
    plan = runner.client.plan(again).to_json()
    assert plan["target"] == "dev" and plan["writes"] == ['"warehouse"."dev"."orders"']

    add_a_book(runner)
    rerun = runner.run(operation="rerun_failed", of=seasonal.id)
    assert rerun.state is RunState.SUCCESS and statuses(rerun) == {"seasonal": "success"}
    other = runner.run(select="orders")
    assert other.state is RunState.SUCCESS and other.target == "prod"
    # What passed on prod is no result of dev.
    rerun = runner.run(operation="rerun_failed", of=failed.id)
    assert rerun.state is RunState.SUCCESS and rerun.target == "dev", rerun.detail
    assert runner.query("select x from dev.orders") == [(1,)]
    with pytest.raises(NothingLeft):
        runner.client.plan(again).to_json()


def listed(runner: Runner) -> set[str]:
    return {one.name for one in runner.client.models()}
