"""Who last changed a model: real git, whose answer is given or withheld, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.alerts.last_change import last_change
from tests.harness.repository import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two models in a subfolder; the second commit touches one of them."""
    folder = tmp_path / "repository"
    (folder / "dbt" / "models").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name in ("a", "b"):
        (folder / "dbt" / "models" / f"{name}.sql").write_text("select 1")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Begin")
    (folder / "dbt" / "models" / "a.sql").write_text("select 2")
    git(folder, "commit", "--quiet", "--all", "--message", "Touch a")
    return folder


def sync_of(repository: Path) -> Path:
    """A folder as git-sync keeps it: `current` leads to the checkout."""
    sync = repository.with_name("sync")
    sync.mkdir()
    (sync / "current").symlink_to(repository)
    return sync


def test_it_is_the_commit_that_touched_the_file_up_to_the_one_that_ran(repository: Path) -> None:
    sync, head = sync_of(repository), git(repository, "rev-parse", "HEAD")
    found = last_change(sync, head, "models/a.sql", "dbt")
    assert found is not None
    assert (found.author, found.subject, found.sha) == ("Kim", "Touch a", head)
    other = last_change(sync, head, "models/b.sql", "dbt")
    assert other is not None and other.subject == "Begin"
    before = last_change(sync, git(repository, "rev-parse", "HEAD~1"), "models/a.sql", "dbt")
    assert before is not None and before.subject == "Begin"


def test_without_a_path_it_is_the_commit_itself(repository: Path) -> None:
    found = last_change(sync_of(repository), git(repository, "rev-parse", "HEAD~1"))
    assert found is not None and found.subject == "Begin"


def test_what_git_does_not_know_is_not_guessed(repository: Path, tmp_path: Path) -> None:
    sync = sync_of(repository)
    head = git(repository, "rev-parse", "HEAD")
    assert last_change(sync, head, "dbt_packages/utils/models/x.sql", "dbt") is None
    assert last_change(sync, "0" * 40, "models/a.sql", "dbt") is None
    assert last_change(tmp_path / "none", head, "models/a.sql", "dbt") is None


def test_a_cut_off_history_does_not_blame_its_oldest_commit(
    repository: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    (tmp_path / "sync").mkdir()
    (tmp_path / "sync" / "current").symlink_to(shallow)
    head = git(shallow, "rev-parse", "HEAD")
    assert last_change(tmp_path / "sync", head, "models/b.sql", "dbt") is None
