"""Text that comes from elsewhere: messages, typed variables, secrets, what git keeps elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from mage_dbt.base.files import replace_file
from mage_dbt.errors import RequestError
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.canaries import places
from tests.harness.another_dbt import without
from tests.harness.repository import git, git_commit
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

PROJECT = "borders"

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'8a' * 32}\nsize 30\n"


def broken(runner: Runner, sha: str) -> dict[str, Any]:
    """Waits until the commit is called broken; gives what is said of it."""
    status = runner.until(
        f"commit {sha[:7]} to be broken",
        lambda status: bool(status["broken"] and status["broken"]["sha"] == sha),
    )
    return dict(status["broken"])


def test_a_commit_whose_message_is_no_utf_8_becomes_live(runner: Runner) -> None:
    raw = git(runner.repository, "cat-file", "commit", "HEAD")
    head, _, _ = raw.partition("\n\n")
    parent = git(runner.repository, "rev-parse", "HEAD")
    lines = [one for one in head.splitlines() if not one.startswith("parent ")]
    lines.insert(1, f"parent {parent}")
    written = subprocess.run(
        ["git", "-C", str(runner.repository), "hash-object", "-t", "commit", "-w", "--stdin"],
        input="\n".join(lines).encode() + b"\n\nNeues Men\xfc\x01\n",
        capture_output=True,
        check=True,
    )
    sha = written.stdout.decode().strip()
    git(runner.repository, "update-ref", "refs/heads/main", sha)
    status = runner.live(sha)
    assert status["live"]["subject"].startswith("Neues Men\ufffd")
    run = runner.run(select="label")
    assert run.state is RunState.SUCCESS and run.commit_subject.startswith("Neues Men\ufffd")


def test_typed_variables_are_what_dbt_makes_of_them(runner: Runner) -> None:
    text = (
        "day: 2026-02-03\ndays: [2026-01-01]\nopt: {until: 2026-01-02, a: 1}\n"
        "at: 2026-01-31 08:00:00\nlabel: 🚀 launch"
    )
    run = runner.run(select="label dayed shown", variables=text)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select label, day from analytics.label, analytics.dayed") == [
        ("🚀 launch", "03.02.2026")
    ]
    assert runner.query("select at, days, opt from analytics.shown") == [
        (
            "2026-01-31 08:00:00",
            "[datetime.date(2026, 1, 1)]",
            "{'until': datetime.date(2026, 1, 2), 'a': 1}",
        )
    ]
    kept = run.request.variables  # what a rerun gets
    assert kept["day"] == date(2026, 2, 3) and list(kept["opt"]) == ["until", "a"]
    again = runner.run(select="label", variables={"label": "🚀", "days": "[2026-01-01]"})
    assert again.state is RunState.SUCCESS, again.detail
    assert runner.query("select label from analytics.label") == [("🚀",)]


def test_a_message_that_postgresql_cannot_keep_is_its_own_nodes_trouble(runner: Runner) -> None:
    run = runner.run(select="path:models/late label")
    assert run.state is RunState.ERROR
    assert {one.name: one.status for one in run.nodes} == {
        "fails": "error",
        "slow": "success",
        "after_slow": "success",
        "label": "success",
    }
    (message,) = (one.message for one in run.nodes if one.name == "fails")
    assert "bad \ufffd byte" in message
    assert run.detail.startswith("1 of 4 nodes did not pass: fails.")


def test_secrets_that_are_words_of_names_change_no_result(runner: Runner) -> None:
    typed = "c4nary typed 0c4f1e"
    runner.restart_runner(
        DBT_ENV_SECRET_NAME="dayed", DBT_ENV_SECRET_WORD="success", DBT_ENV_SECRET_TYPED=typed
    )
    runner.live(git(runner.repository, "rev-parse", "HEAD"))
    run = runner.run(select="dayed")
    assert run.state is RunState.SUCCESS, run.detail
    assert [(one.node, one.status) for one in run.nodes] == [("model.borders.dayed", "success")]
    # What people type is free text, and holds no secret afterwards.
    runner.publish(f"Use {typed}", typed='select \'{{ var("api_token", "none") }}\' as word')
    token = "seen by dbt"
    asked = {"api_token": token, "label": f"x {typed}"}
    run = runner.run(select="typed", why=f"with {typed}", caller=f"ana {typed}", variables=asked)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select word from analytics.typed") == [(token,)]
    assert run.commit_subject == "Use *****"
    assert (run.request.why, run.request.caller) == ("with *****", "ana *****")
    assert dict(run.request.variables) == {"api_token": "*****", "label": "x *****"}
    for address, text in heard(runner, run, parts=("", "/events")).items():
        assert typed not in text and token not in text, address
    runner.publish("Use it no more", typed=None)


QUOTED = {"token": "c4nary, token) (0c4f1e", "mail": "c4nary.mail@0c4f1e.example"}
"""Values in columns that are hidden: by its name, and by what the project says."""

UNIQUE = """
{{ config(materialized="table", indexes=[{"columns": ["id", "api_token"], "unique": true}]) }}
select 1 as id, api_token from analytics.quoted, generate_series(1, 2)
"""

MAILS = """
{{ config(materialized="table", indexes=[{"columns": ["mail"], "unique": true}]) }}
select mail from analytics.quoted, generate_series(1, 2)
"""

WHOLE_ROWS = """
{{ config(materialized="table", post_hook=[
    "alter table {{ this }} alter plain set not null",
    "insert into {{ this }} select api_token, null from analytics.quoted",
]) }}
select ''::text as api_token, 'x'::text as plain
"""

SAYS_MAILS_ARE_PERSONAL = """
models:
  - name: mails
    columns: [{name: mail, tags: [pii]}]
"""


def test_what_postgresql_quotes_of_hidden_columns_is_kept_and_shown_nowhere(runner: Runner) -> None:
    runner.execute("create schema if not exists analytics")
    runner.execute("create table analytics.quoted (api_token text, mail text)")
    values = "', '".join(QUOTED.values())
    runner.execute(f"insert into analytics.quoted values ('{values}')")
    properties = runner.repository / "models" / "quoted.yml"
    properties.write_text(SAYS_MAILS_ARE_PERSONAL)
    runner.publish("Quote", twice=UNIQUE, mails=MAILS, whole_rows=WHOLE_ROWS)
    try:
        run = runner.run(select="twice mails whole_rows")
        messages = {node.name: node.message for node in run.nodes}
        assert "Key (id, api_token)=(*****) is duplicated." in messages["twice"]
        assert "Key (mail)=(*****) is duplicated." in messages["mails"]
        assert "Failing row contains (*****)." in messages["whole_rows"]
        log = (runner.home.runs / run.id / "logs" / "dbt.log").read_text()
        assert "Failing row contains (*****)." in log
        parts = {node.name: f"/nodes/{node.name}" for node in run.nodes}
        answers = heard(runner, run, parts=("", "/events", "/explanation", *parts.values()))
        assert places(runner, QUOTED, answers) == []
    finally:
        properties.unlink()
        runner.publish("Quote no more", twice=None, mails=None, whole_rows=None)
        runner.execute("drop table analytics.quoted")


PROFILE = """
any:
  target: own
  outputs:
    own:
      type: postgres
      host: 127.0.0.1
      port: {port}
      user: literal_team
      {password}
      dbname: {dbname}
      schema: own
      threads: 2
"""

CANARIES = {"profile": 'c4nary/profile+"0c4f1e"&x', "DBT_PASSWORD": "c4naryvariable0c4f1e"}
"""A password that stands in profiles.yml as it is; one in a variable that dbt takes for no secret.
"""

SAYS_THEM = """
{% do log("logged " ~ env_var("DBT_PASSWORD"), info=true) %}
{{ print("printed " ~ env_var("DBT_PASSWORD") ~ adapter.config.credentials.password) }}
select '{{ adapter.config.credentials.password }}' as id, '{{ env_var("DBT_PASSWORD") }}' as more
"""


def write_profile(folder: Path, runner: Runner, password: str) -> None:
    dbname = runner.query("select current_database()")[0][0]
    text = PROFILE.format(port=runner.postgres_port, dbname=dbname, password=password)
    replace_file(folder / "profiles.yml", text)  # the runner reads it at any time


def heard(
    runner: Runner,
    *runs: Run,
    parts: Sequence[str] = ("", "/events", "/nodes/says", "/nodes/unfit"),
) -> dict[str, str]:
    """What the API answers about these runs, and about the commit."""
    bearer = {"Authorization": f"Bearer {runner.home.api_token.read_text()}"}
    base = f"http://127.0.0.1:{runner.settings.runner_port}/v1"
    paths = ["status", "models", "runs"]
    for run in runs:
        paths += [f"runs/{run.id}{part}" for part in parts]
    with httpx.Client(trust_env=False, timeout=SECONDS, headers=bearer) as http:
        return {one: http.get(f"{base}/{one}").text for one in paths}


def test_what_a_profile_holds_as_a_secret_is_hidden_like_every_other(
    runner: Runner, tmp_path: Path
) -> None:
    """dbt alone knows what is secret in the profile that it has rendered."""
    dbname = runner.query("select current_database()")[0][0]
    with runner.connect("postgres", dbname) as connection:
        verifier = connection.pgconn.encrypt_password(
            CANARIES["profile"].encode(), b"literal_team", b"scram-sha-256"
        ).decode()
        connection.execute(f"create role literal_team login password '{verifier}'".encode())
        connection.execute(f'grant create, connect on database "{dbname}" to literal_team'.encode())
    write_profile(tmp_path, runner, f"password: '{CANARIES['profile']}'")
    secret = CANARIES["DBT_PASSWORD"]
    try:
        runner.restart_runner(DBT_PROFILES_DIR=str(tmp_path), DBT_PASSWORD=secret)
        before = runner.live(git(runner.repository, "rev-parse", "HEAD"))
        assert before["live"]["target"] == "own"
        runner.publish(
            "Say it",
            says=SAYS_THEM,
            unfit="select '{{ adapter.config.credentials.password }}'::int as id",
        )
        run = runner.run(select="says unfit")
        assert {one.name: one.status for one in run.nodes} == {"says": "success", "unfit": "error"}
        (message,) = (one.message for one in run.nodes if one.name == "unfit")
        assert 'invalid input syntax for type integer: "*****"' in message
        answers = heard(runner, run)
        assert (
            "select '*****' as id, '*****' as more"
            in json.loads(answers[f"runs/{run.id}/nodes/says"])["compiled_sql"]
        )
        # A runner that has just begun knows the profile no better than the files it shows.
        runner.restart_runner()
        (again,) = heard(runner, run)[f"runs/{run.id}/nodes/says"].split("\n")
        assert "*****" in again
        runner.answering()
        # Nor does a run without a fork server say it.
        cold = runner.run(select="says", variables={"label": "x"})
        said = "exceptions.raise_compiler_error(adapter.config.credentials.password)"
        sha = runner.commit("Break it", says=f"{SAYS_THEM} {{{{ {said} }}}}")
        told = [runner.broken(sha)]
        assert "*****" in told[0]["message"]
        # What dbt says of a profile that it cannot use shows what stands there.
        for wrong in (
            f"password: 'x{CANARIES['profile']}\n      password: '{CANARIES['profile']}'",
            f"password: {{typed: '{CANARIES['profile']}'}}",
        ):
            write_profile(tmp_path, runner, wrong)
            runner.until(
                "the profile to be refused",
                lambda status: (
                    bool(status["broken"]) and status["broken"]["message"] != told[-1]["message"]
                ),
            )
            told.append(runner.client.status().to_json()["broken"])
        assert "*****" in told[-1]["message"]
        answers |= {str(number): str(one) for number, one in enumerate(told)}
        assert places(runner, CANARIES, answers | heard(runner, run, cold)) == []
    finally:
        runner.restart_runner(DBT_PROFILES_DIR="", DBT_PASSWORD="")
        for name in ("says", "unfit"):
            (runner.repository / "models" / f"{name}.sql").unlink(missing_ok=True)
        runner.live(git_commit(runner.repository, "Say nothing"))


def test_a_seed_in_git_lfs_is_never_loaded_as_its_pointer(runner: Runner) -> None:
    good = git(runner.repository, "rev-parse", "HEAD")
    seed = runner.repository / "seeds" / "countries.csv"
    attributes = runner.repository / ".gitattributes"
    text = seed.read_text()
    attributes.write_text("data/*.csv filter=lfs diff=lfs merge=lfs -text\n")
    seed.write_text(POINTER)
    other = runner.repository / "data" / "other.csv"  # which dbt does not read
    other.parent.mkdir()
    other.write_text(POINTER)
    told = broken(runner, git_commit(runner.repository, "Keep the seed elsewhere"))
    assert (
        "seeds/countries.csv is a Git LFS pointer; the content was not brought" in told["message"]
    )
    assert "data/other.csv" not in told["message"]
    run = runner.run(select="countries")
    assert run.commit == good and run.state is RunState.SUCCESS
    assert runner.query("select * from analytics.countries") == [("KR", "Korea")]
    seed.write_text(text)
    runner.live(git_commit(runner.repository, "Bring it back"))


def test_nothing_of_a_commit_leads_to_files_that_are_not_its_own(
    runner: Runner, tmp_path: Path
) -> None:
    """Links, paths and packages: each is refused before dbt reads what it names."""
    repository = runner.repository
    good = git(repository, "rev-parse", "HEAD")
    secret = runner.home.secrets / "postgres-superuser"
    kept = secret.read_text()
    brought = tmp_path / "brought"
    brought.mkdir()
    git(brought, "init", "--quiet", "--initial-branch=main")
    (brought / "dbt_project.yml").symlink_to(secret)
    git_commit(brought, "A link")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "dbt_project.yml").write_text("name: outside\n")

    def refused(name: str, change: str | Path) -> str:
        """What is said when the file `name` has this text, or is a link; it is undone after."""
        file = repository / name
        before = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        file.symlink_to(change) if isinstance(change, Path) else file.write_text(change)
        said = runner.broken(git_commit(repository, f"Lead {name} out"))
        file.unlink()
        if before is not None:
            file.write_bytes(before)
        assert kept not in json.dumps(said)
        return str(said["message"])

    project = (repository / "dbt_project.yml").read_text()
    assert f"models/lk.sql -> {secret}" in refused("models/lk.sql", secret)
    assert "dbt_project.yml -> ../../../secrets" in refused(
        "dbt_project.yml", Path("../../../secrets/postgres-superuser")
    )
    models = refused("dbt_project.yml", f"{project}\nmodel-paths: [models, ../../../mage]\n")
    assert "model-paths of borders: ../../../mage leads out of the repository" in models
    assets = refused("dbt_project.yml", f"{project}\nasset-paths: ['{runner.home.secrets}']\n")
    assert f"asset-paths of borders: {runner.home.secrets} leads out of the project" in assets
    install = refused("dbt_project.yml", f"{project}\npackages-install-path: ../../../secrets\n")
    assert "packages-install-path of borders" in install and secret.read_text() == kept
    local = refused("packages.yml", f"packages:\n  - local: '{outside}'\n")
    assert f"The local package {outside} lies outside of the repository" in local
    package = refused(
        "packages.yml", f"packages:\n  - git: '{brought.as_uri()}'\n    revision: main\n"
    )
    assert f"In the package {brought.as_uri()}, a link leads out" in package
    assert f"dbt_project.yml -> {secret}" in package

    # The last good commit is live all the while; links that stay inside are followed.
    assert runner.run(select="label").commit == good
    (repository / "kept").mkdir()
    (repository / "kept" / "linked.sql").write_text("select 8 as id")
    (repository / "models" / "linked.sql").symlink_to("../kept/linked.sql")
    runner.live(git_commit(repository, "Link inside"))
    assert runner.run(select="linked").state is RunState.SUCCESS
    assert runner.query("select id from analytics.linked") == [(8,)]


def test_a_package_of_a_repository_elsewhere_is_none_of_this_machine(
    runner: Runner, tmp_path: Path
) -> None:
    """As for submodules: what comes from a server names no repository of its reader's."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "dbt_project.yml").write_text("name: near\n")
    git_commit(tmp_path, "A package")
    packages = runner.repository / "packages.yml"
    own = str(runner.settings.dbt_metric_repo)
    runner.restart_runner(DBT_METRIC_REPO="https://git.example.com/team/dbt-metric.git")
    try:
        for address in (tmp_path.as_uri(), str(tmp_path), f"ext::cat {tmp_path}"):
            packages.write_text(f"packages:\n  - git: '{address}'\n    revision: main\n")
            said = runner.broken(git_commit(runner.repository, f"Bring {address}"))
            how = "uses ext" if "ext::" in address else "is a repository on the runner's own"
            assert f"The package {address} {how}" in said["message"], said
            assert "by git or http or https or ssh only" in said["message"]
    finally:
        packages.unlink()
        runner.restart_runner(DBT_METRIC_REPO=own)
        runner.live(git_commit(runner.repository, "Bring nothing"))


def test_a_dbt_without_what_is_guarded_breaks_the_commit_in_words(
    runner: Runner, tmp_path: Path
) -> None:
    lost = "dbt.config.project:PartialProject.create_project"
    runner.restart_runner(PYTHONPATH=without(lost, tmp_path))
    try:
        said = runner.broken(git(runner.repository, "rev-parse", "HEAD"))
        assert f"does not fit the workspace. It has no {lost.replace(':', '.')}." in said["message"]
        assert "dbt/requirements.txt" in said["hint"] and said["by_machine"]
    finally:
        runner.restart_runner(PYTHONPATH="")
        runner.live(git(runner.repository, "rev-parse", "HEAD"))


def test_a_variable_leads_no_run_out_of_its_commit(runner: Runner) -> None:
    file = runner.repository / "dbt_project.yml"
    text = file.read_text()
    file.write_text(f"{text}\nmodel-paths: [models, \"{{{{ var('more', 'more') }}}}\"]\n")
    runner.live(git_commit(runner.repository, "Look where a variable says"))
    with pytest.raises(RequestError, match="model-paths of borders: ../../../mage leads out"):
        runner.client.plan(
            Request.parse(
                {"operation": "build", "select": "label", "variables": {"more": "../../../mage"}}
            )
        )
    file.write_text(text)
    runner.live(git_commit(runner.repository, "Look no further"))


def test_no_secret_of_the_workspace_stands_in_what_a_run_writes(runner: Runner) -> None:
    """Not only dbt's own: whatever its process may read."""
    edited, after = runner.home.secrets / "edited", "the-value-0c4f1e-after"
    edited.write_text("the-value-0c4f1e-before")
    secrets = {file.name: file.read_text() for file in runner.home.secrets.iterdir()}
    assert {"api-token", "postgres-superuser", "postgres-ledger"} <= secrets.keys()
    values = " ".join(secrets.values())
    runner.publish("Say them", says=f"select '{values} {after}'::int as id")
    run = runner.run(select="says")
    assert "*****" in run.nodes[0].message and after in run.nodes[0].message
    answers = heard(runner, run, parts=("", "/nodes/says", "/events", "/explanation"))
    assert "*****" in json.loads(answers[f"runs/{run.id}/nodes/says"])["compiled_sql"]
    folder = runner.home.runs / run.id
    for file in folder.rglob("*"):
        # The manifest holds what the commit holds.
        if file.is_file() and file.name != "manifest.json":
            answers[str(file.relative_to(folder))] = file.read_text(errors="replace")
    assert "logs/dbt.log" in answers and "worker.log" in answers
    found = [
        (where, name)
        for where, text in answers.items()
        for name in secrets
        if secrets[name] in text
    ]
    assert found == []

    # Edited in place, which does not change the folder: known to the next run of the same commit.
    edited.write_text(after)
    again = runner.run(select="says")
    assert runner.how(again) == "warm" and "*****" in again.nodes[0].message
    log = (runner.home.runs / again.id / "logs" / "dbt.log").read_text()
    assert after not in again.nodes[0].message + log and "*****" in log
    edited.unlink()
    (runner.repository / "models" / "says.sql").unlink()
    runner.live(git_commit(runner.repository, "Say nothing"))


def test_a_submodule_is_brought_or_the_commit_says_that_it_is_not(
    runner: Runner, tmp_path: Path
) -> None:
    shared, inner = tmp_path / "shared", tmp_path / "inner"
    for folder in (shared, inner):
        (folder / "macros").mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    (inner / "macros" / "eight.sql").write_text("{% macro eight() %}8{% endmacro %}")
    git_commit(inner, "Eight")
    (shared / "dbt_project.yml").write_text(
        'name: shared\nversion: "1.0"\nmacro-paths: [macros, inner/macros]\n'
    )
    (shared / "macros" / "seven.sql").write_text("{% macro seven() %}7{% endmacro %}")
    allow = ("-c", "protocol.file.allow=always")
    git(shared, *allow, "submodule", "--quiet", "add", str(inner), "inner")
    git_commit(shared, "Seven")

    repository = runner.repository
    git(repository, *allow, "submodule", "--quiet", "add", str(shared), "shared")
    (repository / "packages.yml").write_text("packages:\n  - local: shared\n")
    sha = runner.commit(
        "Share", label="select {{ shared.seven() }} + {{ shared.eight() }} as label"
    )
    runner.live(sha)
    run = runner.run(select="label")
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.query("select label from analytics.label") == [(15,)]

    # One that is gone, and that dbt has no use for: said, and no hindrance.
    add_lost(repository, "docs/theme", tmp_path / "gone")
    status = runner.live(git(repository, "rev-parse", "HEAD"))
    assert status["live"]["notes"] == ["docs/theme is a git submodule; it was not brought."]
    runner.until("git-sync to say so", lambda status: "gone" in status["sync"]["error"])

    # One that is gone, where dbt looks for models: without it fewer would be built, green.
    add_lost(repository, "models/more", tmp_path / "away")
    told = broken(runner, git(repository, "rev-parse", "HEAD"))
    assert "models/more is a git submodule; the content was not brought" in told["message"]
    assert "docs/theme" not in told["message"]


def add_lost(repository: Path, path: str, url: Path) -> None:
    """Commits a submodule that cannot be had."""
    (repository / path).mkdir(parents=True)
    with (repository / ".gitmodules").open("a") as file:
        file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(repository, "add", ".gitmodules")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'5' * 40},{path}")
    git(repository, "commit", "--quiet", "--message", f"Add {path}")
