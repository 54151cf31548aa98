"""Names of commits, ancestry and renames, asked of a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mage_dbt.commits.history import History
from mage_dbt.errors import BadCommit
from tests.harness.repository import git

TEXT = "".join(f"select {number} as id union all\n" for number in range(30))


def commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "current"
    (folder / "dbt").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "dbt" / "fct_order.sql").write_text(TEXT)
    (folder / "outside.sql").write_text("select 1")
    commit(folder, "One")
    return folder


def history(repository: Path) -> History:
    return History(repository.parent, "main")


def test_a_rename_is_followed_through_edits_in_other_commits(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "mv", "dbt/fct_order.sql", "dbt/fct_orders.sql")
    commit(repository, "Rename")
    (repository / "dbt" / "fct_orders.sql").write_text("select 'quite another' as text\n")
    (repository / "dbt" / "new.sql").write_text("select 'new' as text")
    commit(repository, "Rewrite")
    git(repository, "mv", "dbt/fct_orders.sql", "dbt/facts.sql")
    git(repository, "mv", "outside.sql", "elsewhere.sql")
    last = commit(repository, "Rename again")
    changes = history(repository).changes(first, last, "dbt")
    assert changes is not None
    outside = {"../outside.sql": "../elsewhere.sql"}  # a local package may lie there
    assert dict(changes.renamed) == {"fct_order.sql": "facts.sql"} | outside
    assert changes.added == {"new.sql"}
    whole = history(repository).changes(first, last, ".")
    assert whole is not None and whole.renamed["outside.sql"] == "elsewhere.sql"


def test_commits_that_git_does_not_have_cannot_be_compared(repository: Path) -> None:
    assert history(repository).changes("0" * 40, git(repository, "rev-parse", "HEAD"), ".") is None


def test_names_of_commits_and_tags_and_what_is_none(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = commit(repository, "Two")
    git(repository, "tag", "v1", first)
    found = history(repository)
    for name in (first, first[:7], first[:7].upper(), "v1"):
        assert found.resolve(name, second) == first
    with pytest.raises(BadCommit, match=f"is not on main: it is newer than {first[:7]}"):
        found.resolve(second[:8], first)
    with pytest.raises(BadCommit, match="No commit or tag 'abc'"):
        found.resolve("abc", second)
    git(repository, "tag", first[:8], second)
    with pytest.raises(BadCommit, match="ambiguous"):
        found.resolve(first[:8], second)


def test_a_commit_of_a_branch_that_was_rewritten_is_no_longer_there(repository: Path) -> None:
    failed = commit(repository, "Red")
    git(repository, "commit", "--quiet", "--amend", "--allow-empty", "--message", "Repaired")
    amended = git(repository, "rev-parse", "HEAD")
    for sha in (failed, "0123456789" * 4):  # which git may have forgotten meanwhile
        with pytest.raises(BadCommit, match="rewritten since; the newest is") as refused:
            history(repository).resolve(sha, amended, was_used=True)
        assert f"{sha[:7]} is no longer on main" in str(refused.value)
        assert f'{amended[:7]} "Repaired"' in str(refused.value)
        assert "Merge" not in str(refused.value) and "Leave `commit` out" in refused.value.hint
    assert history(repository).resolve(amended, amended, was_used=True) == amended


def test_a_shallow_clone_says_what_git_sync_needs(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = commit(repository, "Two")
    shallow = tmp_path / "shallow" / "current"
    shallow.parent.mkdir()
    clone = ["git", "clone", "--quiet", "--depth=1", repository.as_uri(), str(shallow)]
    subprocess.run(clone, check=True, capture_output=True)
    with pytest.raises(BadCommit) as refused:
        history(shallow).resolve(first, second)
    assert "--depth=0" in refused.value.hint
