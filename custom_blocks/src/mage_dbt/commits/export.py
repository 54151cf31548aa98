"""Exports a commit's files, and finds what git keeps elsewhere: submodules and pointers.

Of a submodule an export holds an empty folder. Of a file in Git LFS it holds a pointer of a few
lines, which dbt would load as if they were the data.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from mage_dbt.base.git import ANY_OWNER, Git, reason

POINTERS: Mapping[bytes, str] = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer",
    b"version https://hawser.github.com/spec/": "a Git LFS pointer",
    b"/annex/objects/": "a git-annex pointer",
    b"\0GITCRYPT\0": "encrypted by git-crypt",
}
"""How a pointer begins. Sources: git-lfs `docs/spec.md`, git-annex `pointer file`, git-crypt."""

READ_BY_DBT = frozenset((".sql", ".py", ".csv", ".yml", ".yaml"))

SUBMODULE = "160000"
"""The mode of a submodule in `git ls-tree`."""


def git_in(folder: Path) -> Git:
    """git in a folder of git-sync's. Without its content a file of Git LFS stays a pointer, which
    we report; git itself would fail."""
    return Git(folder, (ANY_OWNER, "filter.lfs.required=false"))


def export(git: Git, sha: str, tree: Path, index: Path) -> tuple[str, str]:
    """Writes the files of a commit into `tree`, with git's own checkout in the worktree of `git`.

    Returns git's message when it fails, else an empty text; and the commit's `git ls-tree -r -z`.
    """
    prefix = f"--prefix={tree}/"
    for step in (("read-tree", sha), ("checkout-index", "--all", "--force", prefix)):
        done = git.with_index(index).run(*step)
        if done.returncode != 0:
            return reason(done), ""
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", sha)
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
    """Exports the submodules that git-sync has fetched into one of `worktrees`, nested ones too.

    Yields the path of each whose pinned commit is in none of them.
    """
    for path, pinned in submodules(listed):
        found = [folder / path for folder in worktrees if has(git, folder / path, pinned)]
        if not found:
            yield path
            continue
        wrong, inner = export(git.at(found[0]), pinned, tree / path, index)
        if wrong:
            yield path
            continue
        inside = bring_submodules(git, found, inner, tree / path, index)
        yield from (f"{path}/{missing}" for missing in inside)


def has(git: Git, folder: Path, sha: str) -> bool:
    """Whether `folder` is a repository of its own that has this commit."""
    # Without its own .git, git would ask the repository around it.
    if not (folder / ".git").exists():
        return False
    return git.at(folder).run("cat-file", "-e", f"{sha}^{{commit}}").returncode == 0


def touches(path: str, subdir: str, read: Collection[str]) -> bool:
    """Whether a submodule's `path` holds, or lies in, one of the folders that dbt reads."""
    inside = PurePosixPath(os.path.relpath(path, subdir or "."))
    return any(
        inside.is_relative_to(folder) or folder.is_relative_to(inside)
        for folder in map(PurePosixPath, read)
    )


def pointers(files: Iterable[Path]) -> dict[str, str]:
    """Those of `files` that hold a pointer in place of their content: path and kind of pointer."""
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
