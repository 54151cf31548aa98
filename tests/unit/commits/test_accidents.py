"""An accident of the machine is told from a fault of the project, and names nobody."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from mage_dbt.alerts import message
from mage_dbt.commits.broken import Broken
from mage_dbt.commits.store import Commits
from mage_dbt.dbt.parsing import by_machine
from mage_dbt.errors import CommitBroken, LedgerUnreachable, PreparationFailed
from mage_dbt.home import Home
from mage_dbt.model.commit import READY_FILE, Commit
from mage_dbt.settings import Settings
from mage_dbt.workers.pool import Pool

SHA = "a" * 40


def caused_by(error: BaseException) -> RuntimeError:
    try:
        raise RuntimeError("dbt says") from error
    except RuntimeError as raised:
        return raised


def test_a_machine_that_is_short_of_something_is_no_fault_of_the_project() -> None:
    assert by_machine(OSError(errno.ENOSPC, "No space left on device"))
    assert by_machine(caused_by(MemoryError()))
    assert not by_machine(caused_by(FileNotFoundError(errno.ENOENT, "no such file")))
    assert not by_machine(ValueError("no such macro"))
    assert not by_machine(None)


def test_who_reads_of_an_accident_reads_no_author() -> None:
    told = message.commit_not_ready(SHA, "Good change", "dbt was killed.", "b" * 40)
    text = f"{told.title}\n{told.body}"
    assert "Not ready: aaaaaaa" in text and "dbt was killed." in text
    assert "Runs use bbbbbbb" in text and "broken" not in text.lower() and "By:" not in text


class Lookings(Commits):
    """The store of commits, with the making of one replaced by its end."""

    def __init__(self, folder: Path, tell: Any) -> None:
        settings = Settings.load({"WORKSPACE_HOME": str(folder)}, folder / "no.env")
        home = Home(folder)
        super().__init__(settings, home, Pool(settings, home), set, tell)
        self.ends: list[CommitBroken] = []
        (home.sync / ".worktrees" / SHA).mkdir(parents=True)
        (home.sync / "current").symlink_to(Path(".worktrees") / SHA)

    def _ready(self, *_: Any) -> Commit:
        raise self.ends[0]


def test_an_error_while_telling_does_not_undo_what_is_told(tmp_path: Path) -> None:
    told: list[Commit | Broken] = []
    errors: list[Exception] = []

    def tell(found: Commit | Broken) -> None:
        if errors:
            raise errors.pop(0)
        told.append(found)

    commits = Lookings(tmp_path, tell)
    commits.ends = [PreparationFailed("dbt was killed.")]
    errors.append(ValueError("a character that nobody can keep"))
    commits.look()
    assert commits.broken is not None and commits.broken.by_machine and told == []

    # Not told again for each try; what it turns out to be then is.
    commits._tried_at -= 100
    commits.look()
    assert told == []
    commits.ends = [CommitBroken("no such macro")]
    errors.append(LedgerUnreachable("away"))
    commits._tried_at -= 100
    commits.look()
    assert commits.broken is not None and not commits.broken.by_machine and told == []
    commits.look()
    assert told == [commits.broken]


def test_a_commit_whose_last_file_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / READY_FILE).write_text('{"sha": ')
    with pytest.raises(FileNotFoundError):
        Commit.read(tmp_path)
