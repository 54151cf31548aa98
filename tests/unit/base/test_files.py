"""A file, link or folder comes to be in one step, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mage_dbt.base.files import new_file, new_folder, replace_file, replace_link


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    replace_file(path, "old, and longer")
    with path.open() as reader:
        replace_file(path, "ü")
        assert reader.read() == "old, and longer"
    assert path.read_bytes() == "ü".encode()
    assert names(tmp_path) == ["status.json"]


def test_a_mode_holds_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "exact", "a", mode=0o664)
        replace_file(tmp_path / "by umask", "b")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("exact", "by umask")]
    assert modes == [0o664, 0o640]


def test_a_file_that_could_not_be_filled_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_text("old")
    with pytest.raises(ValueError, match="no room"), new_file(path) as aside:
        aside.write_text("half")
        raise ValueError("no room")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["backup"]


def test_a_link_is_pointed_at_something_else(tmp_path: Path) -> None:
    for target in ("first", "second"):
        replace_link(tmp_path / "current", Path(target))
        assert (tmp_path / "current").readlink() == Path(target)
    assert names(tmp_path) == ["current"]


def test_a_folder_that_was_left_half_made_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    with pytest.raises(ValueError), new_folder(path) as aside:
        (aside / "half").touch()
        raise ValueError
    assert not path.exists()
    with new_folder(path, mode=0o700) as aside:
        (aside / "whole").touch()
    assert names(path) == ["whole"]
    assert names(tmp_path) == ["demo"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
