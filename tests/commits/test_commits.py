"""A commit becomes ready when dbt parses it; one that does not parse replaces nothing."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mage_dbt.errors import BadCommit, NoCommitReady
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.models import HELD, waiting
from tests.harness.repository import PROJECTS, git, git_commit, make_repository
from tests.harness.runner import Runner

LOCK = 4711

PROJECT = "steps"

Begin = Callable[..., Runner]


@pytest.fixture
def begin(tmp_path: Path, server: Database) -> Iterator[Begin]:
    """Starts a runner on a repository of the test's own; stops it afterwards."""
    begun: list[Runner] = []

    def start(repository: Path | None, **environ: str) -> Runner:
        given = {"DBT_METRIC_REPO": str(repository)} if repository else {}
        begun.append(runners.begin(tmp_path, server, **given, **environ))
        return begun[-1]

    yield start
    for one in begun:
        one.stop()


def test_a_broken_commit_is_told_with_dbts_message_and_the_last_good_one_stays(
    runner: Runner,
) -> None:
    good = git(runner.repository, "rev-parse", "HEAD")
    text = (runner.repository / "models" / "apart.sql").read_text()
    broken = runner.commit("Forget a brace", apart="select {{ ref('numbers') ")
    status = runner.until("the commit to be broken", lambda status: status["broken"] is not None)
    assert status["broken"]["sha"] == broken
    assert "apart.sql" in status["broken"]["message"]
    assert status["live"]["sha"] == good and status["live"]["behind"] == 1

    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and run.commit == good
    assert any(broken[:7] in text and "apart.sql" in text for text in run.warnings)

    repaired = runner.commit("Close it", apart=text)
    status = runner.live(repaired)
    assert status["broken"] is None and status["live"]["behind"] == 0
    assert status["last_broken"]["sha"] == broken
    assert "apart.sql" in status["last_broken"]["message"]
    assert runner.run(select="apart").warnings == ()


def test_a_named_commit_or_tag_of_main_is_made_ready_and_run(runner: Runner) -> None:
    repository = runner.repository
    first = git(repository, "rev-parse", "HEAD")
    text = (repository / "models" / "apart.sql").read_text()
    middle = runner.commit("Forty-two", apart="select 42 as id, {{ var('answer', 1) }} as answer")
    newest = runner.commit("Back", apart=text)
    runner.live(newest)
    git(repository, "tag", "--annotate", "--message=v1", "v1.2", middle)
    runner.until("the tag to be brought", lambda _: has_tag(runner, "v1.2"))
    run = runner.run(select="apart", commit="v1.2", variables={"answer": 7})
    assert run.state is RunState.SUCCESS, run.detail
    assert run.commit == middle
    assert runner.query("select id, answer from analytics.apart") == [(42, 7)]
    assert any("1 commit behind" in text for text in run.warnings)
    assert runner.run(select="apart", commit=first[:7]).commit == first
    plan = runner.client.plan(
        Request.parse({"select": "apart", "variables": {"answer": 7}})
    ).to_json()
    assert any('seems to read "answer"' in text for text in plan["warnings"])


def test_what_is_no_commit_of_main_is_refused_with_the_reason(runner: Runner) -> None:
    repository = runner.repository
    git(repository, "tag", "v1.3")
    git(repository, "switch", "--quiet", "--create", "feature-x")
    text = (repository / "models" / "apart.sql").read_text()
    unmerged = runner.commit("Not merged", apart="select 9 as id")
    git(repository, "switch", "--quiet", "main")
    broken = runner.commit("Forget a brace", apart="select {{ ref('numbers') ")
    runner.live(runner.commit("Close it", apart=text))
    runner.until("the tag to be brought", lambda _: has_tag(runner, "v1.3"))
    for name, says in (
        (unmerged[:7], f"{unmerged[:7]} is not on main: it is on branch feature-x, not merged"),
        ("feature-x", "feature-x is a branch"),
        ("main", "Leave it out for the newest"),
        ("0123456", "No commit or tag '0123456'"),
        ("v1.4", "Did you mean tag v1.3"),
        (broken[:8], "apart.sql"),
    ):
        for ask in (runner.client.plan, runner.client.submit):
            with pytest.raises(BadCommit) as refused:
                ask(Request.parse({"select": "apart", "commit": name}))
            assert says in str(refused.value), name


def dropped(where: str, name: str) -> str:
    """What dbt says of a test of a misspelt model, which it drops."""
    return f"({where}) depends on a node named '{name}' in package '' which was not found"


def test_dbts_warnings_while_parsing_are_kept_counted_and_new_ones_come_first(
    runner: Runner,
) -> None:
    repository = runner.repository
    environment = runner.postgres.warehouse_environment()
    secret = Path(environment["DBT_ENV_SECRET_WAREHOUSE_PASSWORD_FILE"]).read_text().strip()
    before = git(repository, "rev-parse", "HEAD")
    old, new = repository / "models" / "old.yml", repository / "models" / "new.yml"
    old.write_text(TESTED.format("nmubers") + OLD_FASHIONED)
    first = git_commit(repository, "Test a misspelt model")
    warnings = runner.live(first)["live"]["parse_warnings"]
    assert (warnings["total"], warnings["new"], warnings["since"]) == (3, 3, before)
    texts = [one["text"] for one in warnings["shown"]]
    assert any(dropped("models/old.yml", "nmubers") in text for text in texts)
    assert warnings["shown"][-1]["deprecation"] and warnings["shown"][-1]["times"] == 2
    assert all("\n" not in text and "WARNING" not in text for text in texts)

    new.write_text(TESTED.format(f"n{secret}"))
    second = git_commit(repository, "Test another")
    runner.restart_runner()
    live = runner.live(second)["live"]["parse_warnings"]
    assert (live["total"], live["new"], live["since"]) == (5, 2, first)
    shown = [one["text"] for one in live["shown"]]
    assert any(dropped("models/new.yml", "n*****") in text for text in shown[:2]), shown
    assert [one["new"] for one in live["shown"]] == [True, True, False, False, False]
    assert secret not in str(runner.client.status().to_json())

    run = runner.run(select="apart")
    plan = runner.client.plan(Request.parse({"select": "apart"})).to_json()
    headline = f"5 warnings while parsing, 2 new since {first[:7]}"
    for told in (run.warnings, plan["warnings"]):
        assert told[0] == headline and told[1].startswith("dbt: New: ") and len(told) == 6
    assert run.parse_warnings.to_json() == plan["parse_warnings"] == live
    assert runner.how(run) == "warm"

    old.unlink()
    new.unlink()
    live = runner.live(git_commit(repository, "Test neither"))["live"]["parse_warnings"]
    assert live == {"total": 0, "new": 0, "since": "", "shown": []}
    assert runner.run(select="apart").warnings == ()


def test_a_run_has_the_warnings_of_the_graph_that_its_variables_make(runner: Runner) -> None:
    repository = runner.repository
    files = {
        "by_variable": "{% if var('size') == 7 %}select * from {{ ref('nowhere') }}{% else %}"
        "select 1 as id from {{ ref('apart') }} where id is null{% endif %}",
        "by_environment": "{% if env_var('BRAND', '') == 'x' %}select * from {{ ref('nothing') }}"
        "{% else %}select 1 as id from {{ ref('apart') }} where id is null{% endif %}",
    }
    (repository / "tests").mkdir()
    for name, text in files.items():
        (repository / "tests" / f"{name}.sql").write_text(text)
    (repository / "models" / "old.yml").write_text(TESTED.format("nmubers"))
    runner.live(git_commit(repository, "Refer to nothing now and then"))
    usual = runner.run(select="apart")
    assert usual.parse_warnings.total == 2
    other = runner.run(select="apart", variables={"size": 7})
    assert ", 1 only with this run's variables" in other.warnings[0], other.warnings
    assert other.parse_warnings.total == 3
    assert other.warnings[1].startswith("dbt: With this run's variables: Test ")
    assert dropped("tests/by_variable.sql", "nowhere") in other.warnings[1]
    assert runner.run(select="apart", variables={"size": 6}).parse_warnings.total == 2

    for brand, total in (("x", 3), ("y", 2)):
        runner.restart_runner(BRAND=brand)
        runner.answering()
        run = runner.run(select="apart")
        assert run.parse_warnings.total == total, (brand, run.warnings)
        assert runner.client.status().to_json()["live"]["parse_warnings"]["total"] == total
    shutil.rmtree(repository / "tests")
    (repository / "models" / "old.yml").unlink()
    runner.live(git_commit(repository, "Refer to what there is"))


TESTED = """models:
  - name: {}
    columns:
      - {{name: id, data_tests: [not_null]}}
"""

OLD_FASHIONED = """
  - name: apart
    columns:
      - name: id
        data_tests:
          - accepted_values: {values: [1]}
          - accepted_values: {values: [2], name: another}
"""


def has_tag(runner: Runner, name: str) -> bool:
    return bool(git(runner.home.sync / "current", "tag", "--list", name))


@pytest.mark.parametrize("name", ["packages.yml", "dbt_project.yml", "models/steps.yml"])
def test_a_file_that_cannot_be_read_breaks_the_commit_and_is_told(
    runner: Runner, name: str
) -> None:
    file = runner.repository / name
    before = file.read_text() if file.exists() else None
    file.write_text("packages: [\n  - {\n")
    sha = git_commit(runner.repository, f"Spoil {name}")
    status = runner.until(
        "the commit to be broken",
        lambda status: bool(status["broken"] and status["broken"]["sha"] == sha),
    )
    assert name.rsplit("/", 1)[-1] in status["broken"]["message"]
    file.unlink() if before is None else file.write_text(before)
    runner.live(git_commit(runner.repository, f"Repair {name}"))


def test_a_run_sees_one_commit_whatever_is_pushed_meanwhile(runner: Runner) -> None:
    text = (runner.repository / "models" / "apart.sql").read_text()
    first = runner.publish("Wait", numbers=waiting(LOCK))
    with runner.held(LOCK):
        run = runner.ask(select="numbers apart")
        runner.running(run, HELD)
        second = runner.publish(
            "Change all", numbers="select 7 as id, 70 as amount", apart="select 'new' as id"
        )
    over = runner.over(run)
    assert over.state is RunState.SUCCESS and over.commit == first
    assert runner.query("select id::text from analytics.apart") == [("1",)]
    assert runner.run(select="apart").commit == second
    runner.live(runner.commit("Back", apart=text))


def test_what_a_run_reads_cannot_be_written(runner: Runner) -> None:
    folders = [one for one in runner.home.commits.iterdir() if (one / "ready.json").exists()]
    for folder in folders:
        for path in (folder / "tree").rglob("*"):
            assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH), path


def test_a_project_with_local_and_git_packages_brings_them_once_a_commit(
    tmp_path: Path, begin: Begin
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "dbt_project.yml").write_text("name: shared\nversion: '1.0.0'\nprofile: x\n")
    (shared / "macros").mkdir()
    (shared / "macros" / "seven.sql").write_text("{% macro seven() %}7{% endmacro %}")
    git(shared, "init", "--quiet", "--initial-branch=main")
    git_commit(shared, "Seven")
    repository = make_repository(tmp_path / "repository", PROJECT)
    (repository / "packages.yml").write_text(
        f"packages:\n  - git: '{shared.as_uri()}'\n    revision: main\n  - local: near\n"
    )
    shutil.copytree(shared / "macros", repository / "near" / "macros")
    (repository / "near" / "dbt_project.yml").write_text(
        "name: near\nversion: '1.0.0'\nprofile: x\n"
    )
    (repository / "near" / "macros" / "seven.sql").write_text("{% macro eight() %}8{% endmacro %}")
    (repository / "models" / "apart.sql").write_text(
        "select {{ shared.seven() }} + {{ near.eight() }} as id"
    )
    sha = git_commit(repository, "Use packages")
    runner = begin(repository)
    runner.live(sha)
    assert runner.run(select="apart").state is RunState.SUCCESS
    assert runner.query("select id from analytics.apart") == [(15,)]

    # Its source is gone: a commit with the same packages still builds, and says what it used.
    shutil.rmtree(shared)
    near = repository / "near" / "macros" / "seven.sql"
    near.write_text("{% macro eight() %}80{% endmacro %}")
    status = runner.live(git_commit(repository, "Change the near one"))
    assert any("not fetched anew" in note for note in status["live"]["notes"])
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS, run.detail
    assert any("not fetched anew" in text for text in run.warnings)
    assert runner.query("select id from analytics.apart") == [(87,)]

    # A package that was never brought is named.
    (repository / "packages.yml").write_text(
        f"packages:\n  - git: '{(tmp_path / 'nowhere').as_uri()}'\n    revision: main\n"
    )
    git_commit(repository, "Ask for one that does not exist")
    status = runner.until("the commit to be broken", lambda status: status["broken"] is not None)
    assert "cannot be had" in status["broken"]["message"]
    assert "nowhere" in status["broken"]["message"]


def test_a_project_in_a_subfolder_with_a_profile_of_its_own(tmp_path: Path, begin: Begin) -> None:
    repository = make_repository(tmp_path / "repository", PROJECT)
    inside = repository / "analytics" / "dbt"
    inside.mkdir(parents=True)
    for name in ("models", "dbt_project.yml"):
        (repository / name).rename(inside / name)
    sha = git_commit(repository, "Move")
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(OWN_PROFILE)
    runner = begin(
        repository,
        DBT_METRIC_SUBDIR="analytics/dbt",
        DBT_PROFILES_DIR=str(profiles),
        DBT_TARGET="night",
    )
    runner.live(sha)
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS, run.detail
    assert run.target == "night"
    assert runner.query("select id from night_shift.apart") == [(1,)]


OWN_PROFILE = """
whatever_the_team_calls_it:
  target: day
  outputs:
    day: &output
      type: postgres
      host: "{{ env_var('WAREHOUSE_HOST') }}"
      port: "{{ env_var('WAREHOUSE_PORT') | as_number }}"
      user: "{{ env_var('WAREHOUSE_USER') }}"
      password: "{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD') }}"
      dbname: "{{ env_var('WAREHOUSE_DBNAME') }}"
      schema: day_shift
      threads: 2
    night:
      <<: *output
      schema: night_shift
"""


def test_what_another_git_sync_publishes_is_taken_up(tmp_path: Path, begin: Begin) -> None:
    """The contract of git-sync's own program, done by hand: worktrees and one relative link."""
    repository = make_repository(tmp_path / "repository", PROJECT)
    published = tmp_path / "published"
    (published / ".worktrees").mkdir(parents=True)

    def publish(sha: str) -> None:
        git(repository, "worktree", "add", "--detach", str(published / ".worktrees" / sha), sha)
        (published / "next").symlink_to(Path(".worktrees") / sha)
        (published / "next").rename(published / "current")

    first = git(repository, "rev-parse", "HEAD")
    runner = begin(None, DBT_METRIC_DIR=str(published))
    with pytest.raises(NoCommitReady, match="none is there.*DBT_METRIC_DIR="):
        runner.ask(select="apart")
    publish(first)
    runner.live(first)
    (repository / "models" / "apart.sql").write_text("select 2 as id")
    second = git_commit(repository, "Two")
    publish(second)
    runner.live(second)
    assert runner.run(select="apart").commit == second
    assert runner.query("select id from analytics.apart") == [(2,)]


def test_a_repository_without_a_dbt_project_says_so(tmp_path: Path, begin: Begin) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet", "--initial-branch=main")
    (repository / "README.md").write_text("nothing here")
    git_commit(repository, "Only words")
    runner = begin(repository)
    status = runner.until("the commit to be broken", lambda status: status["broken"] is not None)
    assert "no dbt_project.yml" in status["broken"]["message"]
    assert "DBT_METRIC_SUBDIR" in status["broken"]["hint"]
    with pytest.raises(NoCommitReady, match="no dbt_project.yml"):
        runner.ask(select="apart")
    # It lies below: the same commit builds once the setting is right.
    shutil.copytree(PROJECTS / PROJECT, repository / "analytics" / "dbt")
    sha = git_commit(repository, "Below")
    broken = runner.broken(sha)
    assert "has no dbt_project.yml in '.'; there is one in analytics/dbt." in broken["message"]
    assert broken["hint"] == "Set DBT_METRIC_SUBDIR=analytics/dbt and start again."
    runner.restart_runner(DBT_METRIC_SUBDIR="analytics/dtb")
    runner.until(
        "the missing folder to be named",
        lambda status: (
            bool(status["broken"])
            and "has no folder 'analytics/dtb'" in status["broken"]["message"]
        ),
    )
    runner.restart_runner(DBT_METRIC_SUBDIR="analytics/dbt")
    status = runner.live(sha)
    assert status["broken"] is None
    run = runner.run(select="apart")
    assert run.state is RunState.SUCCESS and run.commit == sha, run.detail


def test_an_unreachable_repository_is_told_with_gits_message(tmp_path: Path, begin: Begin) -> None:
    runner = begin(tmp_path / "nowhere")
    status = runner.until(
        "git-sync to complain", lambda status: bool((status["sync"] or {}).get("error"))
    )
    assert "nowhere" in status["sync"]["error"]
    with pytest.raises(NoCommitReady, match="none is there"):
        runner.ask(select="apart")
