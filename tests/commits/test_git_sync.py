"""The stand-in for git-sync keeps git-sync's contract, on real repositories."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.commits import git_sync
from mage_dbt.commits.export import export, git_in, pointers
from mage_dbt.commits.git_sync import GitSync
from mage_dbt.errors import WorkspaceError
from tests.conftest import not_run
from tests.harness import system
from tests.harness.repository import git
from tests.harness.waiting import wait_until


def commit(repository: Path, text: str) -> str:
    (repository / "model.sql").write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", text)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "the repository ü"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "select 1")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sync"


def sync(repository: Path | str, folder: Path, ref: str = "main") -> GitSync:
    made = GitSync(str(repository), ref, folder, poll_seconds=1)
    folder.mkdir(exist_ok=True)
    made._prepare()
    return made


def status(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "status.json").read_text()))


def current(folder: Path) -> str:
    return (folder / "current" / "model.sql").read_text()


def test_a_commit_is_published_by_a_relative_link(repository: Path, folder: Path) -> None:
    sync(repository, folder).look()
    sha = git(repository, "rev-parse", "HEAD")
    assert (folder / "current").readlink() == Path(".worktrees") / sha
    assert current(folder) == "select 1"
    assert status(folder)["published"] == sha
    assert status(folder)["error"] == ""


def test_a_reader_in_the_old_worktree_sees_nothing_change(repository: Path, folder: Path) -> None:
    syncing = sync(repository, folder)
    syncing.look()
    before = (folder / "current").resolve()
    commit(repository, "select 2")
    syncing.look()
    assert current(folder) == "select 2"
    assert (before / "model.sql").read_text() == "select 1"


def test_a_rewritten_branch_is_followed(repository: Path, folder: Path) -> None:
    syncing = sync(repository, folder)
    commit(repository, "select 2")
    syncing.look()
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    rewritten = commit(repository, "select 3")
    syncing.look()
    assert current(folder) == "select 3"
    assert status(folder)["published"] == rewritten


def test_the_whole_history_is_there(repository: Path, folder: Path) -> None:
    for number in range(2, 5):
        commit(repository, f"select {number}")
    sync(repository, folder).look()
    assert git(folder / "current", "rev-list", "--count", "HEAD") == "4"


@pytest.mark.parametrize("annotated", [True, False])
def test_a_tag_is_published_as_the_commit_it_names(
    repository: Path, folder: Path, annotated: bool
) -> None:
    tagged = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", *(["--annotate", "--message=v1"] if annotated else []), "v1")
    commit(repository, "select 2")
    sync(repository, folder, "v1").look()
    assert status(folder)["published"] == tagged


def test_the_last_commit_stays_while_the_repository_is_away(repository: Path, folder: Path) -> None:
    syncing = sync(repository, folder)
    syncing.look()
    published = status(folder)["published"]
    repository.rename(repository.with_name("away"))
    pauses = [syncing.look() for _ in range(3)]
    assert pauses == [1, 2, 4]
    assert current(folder) == "select 1"
    assert status(folder)["published"] == published
    assert "does not appear to be a git repository" in status(folder)["error"]
    repository.with_name("away").rename(repository)
    assert syncing.look() == 1
    assert status(folder)["error"] == ""


def test_a_branch_that_does_not_exist_names_those_that_do(repository: Path, folder: Path) -> None:
    sync(repository, folder, "mian").look()
    error = status(folder)["error"]
    assert "No branch or tag 'mian'" in error
    assert "Did you mean main? DBT_METRIC_REF names it" in error
    assert "It has main." in error
    assert not (folder / "current").exists()


def test_an_empty_repository_is_said_to_be_empty(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    sync(empty, folder).look()
    assert "It is empty." in status(folder)["error"]


def test_a_half_made_worktree_is_made_again(repository: Path, folder: Path) -> None:
    sha = git(repository, "rev-parse", "HEAD")
    half = folder / ".worktrees" / sha
    half.mkdir(parents=True)
    (half / "model.sql").write_text("half")
    sync(repository, folder).look()
    assert current(folder) == "select 1"


def test_locks_of_a_killed_git_do_not_stop_it(repository: Path, folder: Path) -> None:
    sync(repository, folder).look()
    (folder / ".repo" / "config.lock").write_text("")
    (folder / ".repo" / "packed-refs.lock").write_text("")
    commit(repository, "select 2")
    sync(repository, folder).look()
    assert current(folder) == "select 2"


def test_a_damaged_store_is_fetched_again(repository: Path, folder: Path) -> None:
    sync(repository, folder).look()
    (folder / ".repo" / "HEAD").unlink()
    commit(repository, "select 2")
    sync(repository, folder).look()
    assert current(folder) == "select 2"


def test_old_worktrees_go_only_after_hours(repository: Path, folder: Path) -> None:
    syncing = sync(repository, folder)
    syncing.look()
    first = (folder / "current").resolve()
    commit(repository, "select 2")
    syncing.look()
    assert first.is_dir()
    os.utime(first, (0, 0))
    syncing.look()
    assert not first.exists()
    assert current(folder) == "select 2"


def test_hooks_of_the_repository_are_not_run(
    repository: Path, folder: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    hook = template / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    syncing = sync(repository, folder)
    shutil.copytree(template, folder / ".repo" / "hooks", dirs_exist_ok=True)
    syncing.look()
    assert current(folder) == "select 1"
    assert not (tmp_path / "ran").exists()


def test_a_repository_of_another_user_can_be_read(repository: Path, folder: Path) -> None:
    if os.geteuid() != 0:
        not_run("only root can give files to another user")
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534)
    sync(repository, folder).look()
    assert status(folder)["error"] == ""
    assert current(folder) == "select 1"


def test_two_syncs_of_one_folder_are_refused(repository: Path, folder: Path) -> None:
    stopping = threading.Event()
    first = GitSync(str(repository), "main", folder, poll_seconds=0.2)
    thread = threading.Thread(target=first.run, args=(stopping,))
    thread.start()
    try:
        there = (folder / "status.json").exists
        wait_until("the first to begin", lambda: there() or "it has not")
        with pytest.raises(WorkspaceError, match="Another git sync keeps"):
            GitSync(str(repository), "main", folder, poll_seconds=1).run(stopping)
    finally:
        stopping.set()
        thread.join()


def test_credentials_are_nowhere_in_the_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_sync, "ASK_SECONDS", 5.0)
    sync("http://kim:secret@127.0.0.1:9/repository.git", folder).look()
    assert "secret" not in (folder / "status.json").read_text()
    assert status(folder)["repository"] == "http://127.0.0.1:9/repository.git"


def test_tags_and_branches_that_come_move_and_go_are_followed(
    repository: Path, folder: Path
) -> None:
    syncing = sync(repository, folder)
    syncing.look()
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "--annotate", "--message=v1", "v1")
    syncing.look()
    assert git(folder / "current", "rev-parse", "v1^{commit}") == first
    second = commit(repository, "select 2")
    git(repository, "tag", "--force", "v1")
    git(repository, "branch", "aside")
    syncing.look()
    assert git(folder / "current", "rev-parse", "v1^{commit}") == second
    assert git(folder / "current", "rev-parse", "aside") == second
    git(repository, "tag", "--delete", "v1")
    git(repository, "branch", "--delete", "--force", "aside")
    syncing.look()
    assert git(folder / "current", "tag", "--list") == ""
    assert git(folder / "current", "branch", "--list", "aside") == ""
    assert status(folder)["error"] == ""


def test_a_repository_that_is_not_there_names_its_setting(folder: Path, tmp_path: Path) -> None:
    sync(tmp_path / "nowhere", folder).look()
    error = status(folder)["error"]
    assert "nowhere" in error and error.endswith("DBT_METRIC_REPO names the repository.")


def test_what_lies_in_git_lfs_comes_with_the_commit_and_into_its_export(
    repository: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = system.unpacked("git-lfs")
    if program is None:
        not_run("no git-lfs here; install the system's package git-lfs")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    git(repository, "lfs", "install")
    git(repository, "lfs", "track", "*.csv")
    (repository / "countries.csv").write_text("code,name\nKR,Korea\n")
    sha = commit(repository, "select 2")
    assert git(repository, "show", "HEAD:countries.csv").startswith("version https://git-lfs")
    sync(repository, folder).look()
    assert status(folder)["error"] == ""
    assert (folder / "current" / "countries.csv").read_text() == "code,name\nKR,Korea\n"

    tree = tmp_path / "tree"
    wrong, _ = export(git_in(folder / "current"), sha, tree, tmp_path / "index")
    assert wrong == "" and (tree / "countries.csv").read_text() == "code,name\nKR,Korea\n"
    # Without it there is the pointer, which the runner tells from the content.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    bare = tmp_path / "bare"
    wrong, _ = export(git_in(folder / "current"), sha, bare, tmp_path / "other")
    assert wrong == "" and pointers([bare / "countries.csv"])
