"""Links of a commit, and of packages, that lead out of their own tree.

dbt follows links. What one outside names would become a model's SQL, and stand in answers and on
the page: a secret of the workspace, or a file of another commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.base.lists import short_list
from mage_dbt.base.text import spelled

INSTEAD = "Commit the file itself in place of the link, or link to a file of the repository."


@dataclass(frozen=True)
class Link:
    """A symbolic link that leads out of its tree."""

    path: str
    """Where it lies, from the folder that was looked through."""
    aim: str
    """What it names, as it is written."""


def leading_out(folder: Path, tree: Path | None = None) -> Iterator[Link]:
    """The links below `folder` that lead out of `tree`, which is `folder` itself unless given.

    Whether something is there does not matter. An absolute link leads out wherever it leads: the
    tree is another folder for each commit.
    """
    root = os.path.realpath(folder)
    border = os.path.realpath(tree or folder)
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    aim = Path(entry.path).readlink()
                    if aim.is_absolute() or not is_inside(entry.path, border):
                        path = os.path.relpath(entry.path, root)
                        yield Link(spelled(path), spelled(str(aim)))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def is_inside(path: str | Path, tree: str | Path) -> bool:
    """Whether `path`, all links followed, is `tree` or lies in it. Neither has to exist."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(tree))


def sentence(links: Iterable[Link]) -> str:
    """What is wrong with these links; empty when there are none."""
    found = [f"{link.path} -> {link.aim}" for link in sorted(links, key=lambda link: link.path)]
    if not found:
        return ""
    what = "a link leads" if len(found) == 1 else f"{len(found)} links lead"
    return f"{what} out of the repository: {short_list(found)}."
