"""git as this package runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.base.git import Git, reason
from mage_dbt.errors import Unavailable
from tests.harness.repository import git


@pytest.fixture
def repository(tmp_path: Path) -> Git:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "model.sql").write_text("select 1")
    git(tmp_path, "add", "--all")
    return Git(tmp_path)


def test_it_is_git_in_that_folder_with_that_configuration(repository: Git) -> None:
    configured = Git(repository.folder, config=("user.name=Kim Müller",))
    assert configured.run("config", "user.name").stdout == "Kim Müller\n"
    assert repository.run("rev-parse", "--show-toplevel").stdout.strip() == str(repository.folder)


def test_an_index_of_its_own_leaves_the_folders_as_it_is(
    repository: Git, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = repository.with_index(tmp_path_factory.mktemp("index") / "index")
    assert other.run("ls-files").stdout == ""
    assert repository.run("ls-files").stdout == "model.sql\n"


def test_bytes_that_are_no_text_are_replaced_or_kept(repository: Git) -> None:
    blob = ("hash-object", "-w", "--stdin")
    (repository.folder / "latin").write_bytes(b"\xfc")
    sha = repository.run(*blob[:2], "latin").stdout.strip()
    assert repository.run("cat-file", "blob", sha).stdout == "\N{REPLACEMENT CHARACTER}"
    kept = Git(repository.folder, decoding="surrogateescape").run("cat-file", "blob", sha)
    assert kept.stdout == "\udcfc"
    assert repository.run(*blob, stdin="ü").returncode == 0


def test_what_fails_says_why_and_what_takes_long_is_ended(repository: Git) -> None:
    assert "bad revision 'nowhere'" in reason(repository.run("log", "nowhere", "--"))
    slow = "alias.slow=!exec tail -f /dev/null"
    with pytest.raises(Unavailable, match="git slow took more than 0 s"):
        Git(repository.folder, config=(slow,), seconds=0.3).run("slow")
