"""The link that git-sync replaces is looked at often; all else only now and then."""

from __future__ import annotations

from pathlib import Path

import pytest

from mage_dbt.commits import store as store_module
from mage_dbt.commits.store import Commits
from mage_dbt.errors import CommitBroken
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit
from mage_dbt.settings import Settings
from mage_dbt.workers.pool import Pool


def test_a_link_that_was_replaced_is_followed_at_once_and_another_waits_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")
    home = Home(tmp_path)
    looked: list[str] = []

    class Looking(Commits):
        def _ready(self, sha: str, *_: object) -> Commit:
            looked.append(sha)
            raise CommitBroken("It has no files.", "Commit some.")

    store = Looking(settings, home, Pool(settings, home), set, lambda found: None)
    home.sync.mkdir(parents=True)

    def publish(sha: str) -> None:
        (home.sync / "next").symlink_to(Path(".worktrees") / sha)
        (home.sync / "next").rename(home.sync / "current")

    monkeypatch.setattr(store_module, "POLL_SECONDS", 3600.0)
    for sha in ("a" * 40, "b" * 40):
        publish(sha)
        store.poll()
        store.poll()
    assert looked == ["a" * 40, "b" * 40]
    seen = store._looked_at
    store.poll()
    assert store._looked_at == seen
    monkeypatch.setattr(store_module, "POLL_SECONDS", 0.0)
    store.poll()
    assert store._looked_at > seen
