"""Which commits' folders are removed when there are many."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mage_dbt.commits.folders import JUST_PREPARED_SECONDS, KEPT, Folders
from mage_dbt.home import Home
from mage_dbt.settings import Settings


def test_pruning_keeps_what_is_new_what_is_in_use_and_what_was_just_prepared(
    tmp_path: Path,
) -> None:
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")
    home = Home(tmp_path)
    folders = [home.commits / f"{number:012d}-way" for number in range(KEPT + 4)]
    old = time.time() - 2 * JUST_PREPARED_SECONDS
    for number, folder in enumerate(folders):
        (folder / "tree").mkdir(parents=True)
        os.utime(folder, (old + number, old + number))
    used, *others = folders
    Folders(settings, home).prune(lambda: {used})
    assert [one for one in folders if not one.exists()] == others[:3]

    for folder in folders:
        (folder / "tree").mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    Folders(settings, home).prune(set)
    assert all(one.exists() for one in folders)
