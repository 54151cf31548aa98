"""The demo dbt-metric as a repository of its people."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.launcher import demo


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_its_first_commit_is_the_same_everywhere(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    for home in homes:
        home.root.mkdir()
        assert demo.make_repository(home)
    heads = {git(home.demo_repository, "rev-parse", "main") for home in homes}
    assert len(heads) == 1
    assert git(homes[0].demo_repository, "status", "--porcelain") == ""


def test_a_person_can_commit_to_it_and_it_is_never_overwritten(tmp_path: Path) -> None:
    home = Home(tmp_path)
    demo.make_repository(home)
    (home.demo_repository / "note.md").write_text("mine")
    git(home.demo_repository, "add", "note.md")
    git(home.demo_repository, "commit", "--quiet", "--message", "A note")
    assert not demo.make_repository(home)
    assert (home.demo_repository / "note.md").read_text() == "mine"


def test_what_a_killed_start_left_half_made_is_made_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    half = tmp_path / "demo-repository.new"
    half.mkdir()
    (half / "half").write_text("")
    assert demo.make_repository(home)
    assert not (home.demo_repository / "half").exists()
