"""What git keeps elsewhere: submodules, and files of which a commit holds only a pointer.

An export has of a submodule nothing but its name, and of a file in Git LFS a few lines of text,
which dbt would load as if they were the data.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

Git = Callable[..., subprocess.CompletedProcess[str]]
"""Called with the folder to work in, git's arguments, and `index`, a file of its own for it."""

POINTERS: Mapping[bytes, str] = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer",
    b"version https://hawser.github.com/spec/": "a Git LFS pointer",
    b"/annex/objects/": "a git-annex pointer",
    b"\0GITCRYPT\0": "encrypted by git-crypt",
}
"""How such a file begins. Sources: git-lfs `docs/spec.md`, git-annex `pointer file`, git-crypt."""

READ_BY_DBT = frozenset((".sql", ".py", ".csv", ".yml", ".yaml"))

SUBMODULE = "160000"
"""Its mode in a tree."""


def export(git: Git, folder: Path, sha: str, tree: Path, index: Path) -> tuple[str, str]:
    """Writes the files of a commit into `tree`, with git's own checkout; `folder` is a worktree.

    Returns git's message when it fails, else an empty text; and git's list of submodules.
    """
    prefix = f"--prefix={tree}/"
    for step in (("read-tree", sha), ("checkout-index", "--all", "--force", prefix)):
        done = git(folder, *step, index=index)
        if done.returncode != 0:
            return done.stderr.strip() or f"exit status {done.returncode}", ""
    listed = git(folder, "ls-tree", "-r", "-z", "--full-tree", sha)
    return "", listed.stdout


def submodules(listed: str) -> Iterator[tuple[str, str]]:
    """Path and pinned commit of each submodule in what `git ls-tree -r -z` lists."""
    for entry in listed.split("\0"):
        words, _, path = entry.partition("\t")
        if words.startswith(SUBMODULE):
            yield path, words.split(" ")[2]


def bring_submodules(
    git: Git, worktrees: Collection[Path], listed: str, tree: Path, index: Path
) -> Iterator[str]:
    """Exports the submodules that git-sync has brought into one of `worktrees`, and theirs.

    Yields the path of each whose pinned commit is in none.
    """
    for path, pinned in submodules(listed):
        found = [one / path for one in worktrees if has(git, one / path, pinned)]
        if not found:
            yield path
            continue
        wrong, inner = export(git, found[0], pinned, tree / path, index)
        if wrong:
            yield path
            continue
        inside = bring_submodules(git, found, inner, tree / path, index)
        yield from (f"{path}/{one}" for one in inside)


def has(git: Git, folder: Path, sha: str) -> bool:
    """Whether `folder` is a repository of its own that has this commit."""
    # Without a .git of its own git would ask the repository around it.
    return (folder / ".git").exists() and git(
        folder, "cat-file", "-e", f"{sha}^{{commit}}"
    ).returncode == 0


def touches(path: str, subdir: str, read: Collection[str]) -> bool:
    """Whether a submodule's `path` holds, or lies in, one of the folders that dbt reads."""
    inside = PurePosixPath(os.path.relpath(path, subdir or "."))
    return any(
        inside.is_relative_to(one) or PurePosixPath(one).is_relative_to(inside)
        for one in map(PurePosixPath, read)
    )


def pointers(files: Iterable[Path]) -> dict[str, str]:
    """The files in place of which git holds something else, and what that is."""
    return {str(file): what for file in files if (what := _pointer(file))}


def files_for_dbt(project: Path) -> Iterator[Path]:
    """Files of the kinds that dbt reads; only dbt knows which it does read."""
    for folder, _, names in os.walk(project):
        files = (Path(folder, name) for name in names)
        yield from (file for file in files if file.suffix.lower() in READ_BY_DBT)


def _pointer(file: Path) -> str:
    try:
        with file.open("rb") as content:
            head = content.read(64)
    except OSError:  # a link that leads nowhere: dbt says so
        return ""
    return next((what for begin, what in POINTERS.items() if head.startswith(begin)), "")
