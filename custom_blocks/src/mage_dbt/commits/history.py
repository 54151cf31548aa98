"""What git knows of the commits that git-sync publishes: names, ancestry, renames.

git answers from git-sync's own repository. Nothing is fetched, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mage_dbt.base.git import ANY_OWNER, Done, Git
from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.base.text import storable
from mage_dbt.errors import BadCommit, Unavailable, did_you_mean

HEX = re.compile(r"[0-9a-fA-F]{7,40}")
"""A SHA or its beginning. Fewer digits are too often those of two commits."""


@dataclass(frozen=True)
class Changes:
    """Files that changed between two commits.

    Paths count from the folder of dbt_project.yml; outside it, where a local package may lie, they
    are like `../lib/x.sql`.
    """

    renamed: Mapping[str, str]
    """Old path to new path, by git's rename detection."""
    added: frozenset[str]
    edited: frozenset[str] = frozenset()
    """Files that are in both commits under one name, with other content or another mode."""
    removed: frozenset[str] = frozenset()


class History:
    """The history behind git-sync's link `current`, which follows the branch or tag `ref`."""

    def __init__(self, sync: Path, ref: str) -> None:
        self._repository = Git(sync / "current", (ANY_OWNER,), decoding="surrogateescape")
        self._ref = ref

    def resolve(self, name: str, published: str, was_used: bool = False) -> str:
        """The full SHA of a commit or tag that `published` has in its history.

        A branch has none. `was_used`: a run had the commit, so it was published once.
        Raises BadCommit with the reason.
        """
        found = self._named(name)
        if len(found) > 1:
            raise BadCommit(
                f"{name} is ambiguous: {' or '.join(sorted(found))}.",
                "Give more digits of the SHA.",
            )
        if was_used and not (found and self.contains(published, next(iter(found)))):
            raise self._rewritten(name, published)
        if not found:
            raise self._unknown(name)
        sha = found.pop()
        if not self.contains(published, sha):
            raise self._not_published(name, sha, published)
        return sha

    def contains(self, newer: str, older: str) -> bool:
        """Whether `older` is `newer` or one of its ancestors."""
        return self.ask("merge-base", "--is-ancestor", older, newer).returncode == 0

    def distance(self, older: str, newer: str) -> int | None:
        """How many commits `newer` has that `older` lacks; None when git cannot say."""
        counted = self.ask("rev-list", "--count", f"{older}..{newer}")
        return int(counted.stdout) if counted.returncode == 0 else None

    def before(self, sha: str, most: int) -> list[str]:
        """The ancestors of `sha`, nearest first, at most that many."""
        listed = self.ask("rev-list", "--skip=1", f"--max-count={most}", sha)
        return listed.stdout.split() if listed.returncode == 0 else []

    def describe(self, sha: str) -> tuple[str, str, str]:
        """Subject, author and time (ISO 8601) of a commit, without secrets; empty where git cannot
        say."""
        try:
            shown = self.ask("log", "-1", "--format=%s%x00%an%x00%aI", sha)
        except (Unavailable, OSError):  # a commit is judged without its name too
            return ("", "", "")
        parts = [scrub(storable(part)) for part in shown.stdout.strip().split("\0")]
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")

    def changes(self, old: str, new: str, subdir: str) -> Changes | None:
        """What changed from `old` to `new`; None when git cannot compare them.

        Renames are followed from commit to commit: git sees one only where half of the file
        stayed, and a file that was also edited elsewhere may differ more.
        """
        if old == new:
            return Changes({}, frozenset())
        compared = self.ask("diff-tree", "-r", "-M", "-z", "--name-status", old, new)
        if compared.returncode != 0:
            return None
        renamed: dict[str, str] = {}
        added: set[str] = set()
        edited: set[str] = set()
        removed: set[str] = set()
        for status, path, other in _entries(compared.stdout):
            if status.startswith("R"):
                renamed[path] = other
            elif status == "A":
                added.add(path)
            elif status == "D":
                removed.add(path)
            else:
                edited.add(path)
        if self.contains(new, old):
            renamed |= self._followed(old, new)
        added -= set(renamed.values())
        removed -= renamed.keys()
        seen = partial(_seen_from, subdir)
        return Changes(
            {seen(a): seen(b) for a, b in renamed.items()},
            frozenset(map(seen, added)),
            frozenset(map(seen, edited)),
            frozenset(map(seen, removed)),
        )

    def _followed(self, old: str, new: str) -> dict[str, str]:
        """Renames from commit to commit, the chain of each file put together."""
        walk = ("log", "--first-parent", "-m", "--reverse", "--format=", "-M", "-z")
        logged = self.ask(*walk, "--diff-filter=R", "--name-status", f"{old}..{new}")
        first_path: dict[str, str] = {}
        for _, path, other in _entries(logged.stdout if logged.returncode == 0 else ""):
            first_path[other] = first_path.pop(path, path)
        return {first: last for last, first in first_path.items() if first != last}

    def _named(self, name: str) -> set[str]:
        found = set()
        tag = self.ask("rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}")
        if tag.returncode == 0:
            found.add(tag.stdout.strip())
        if HEX.fullmatch(name):
            objects = self.ask("rev-parse", f"--disambiguate={name.lower()}").stdout
            kinds = self.ask("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=objects)
            lines = [line.split(" ") for line in kinds.stdout.splitlines()]
            found |= {sha for sha, kind in lines if kind == "commit"}
        return found

    def _unknown(self, name: str) -> BadCommit:
        if self.ask("show-ref", "--verify", "--quiet", f"refs/heads/{name}").returncode == 0:
            hint = (
                "Leave it out for the newest commit."
                if name == self._ref
                else f"Merge it into {self._ref}, then name the commit."
            )
            return BadCommit(f"{name} is a branch; a run takes a commit or a tag.", hint)
        if self._shallow():
            return self._cut_off(name)
        listed = self.ask("for-each-ref", "--format=%(refname:strip=2)", "refs/tags").stdout
        tags = storable(listed).split()
        near = did_you_mean(name, tags).replace("mean ", "mean tag ", 1)
        hint = near or (
            "A SHA has at least 7 digits, and its commit must be merged."
            if tags
            else "Name a merged commit by its SHA, 7 digits or more; no tag has been synced."
        )
        return BadCommit(f"No commit or tag {name!r} in dbt-metric.", hint)

    def _rewritten(self, sha: str, published: str) -> BadCommit:
        if self._shallow():
            return self._cut_off(sha)
        subject, _, _ = self.describe(published)
        return BadCommit(
            f"{sha[:7]} is no longer on {self._ref}: the branch was rewritten since; the newest is "
            f'{published[:7]} "{subject}".',
            "Leave `commit` out: then the newest is used.",
        )

    def _not_published(self, name: str, sha: str, published: str) -> BadCommit:
        if self._shallow():
            return self._cut_off(name)
        shown = sha[:7] if sha.startswith(name.lower()) else f"{name} ({sha[:7]})"
        listed = ("for-each-ref", "--format=%(refname:strip=2)", f"--contains={sha}", "refs/heads")
        branches = storable(self.ask(*listed).stdout).split()
        where = (
            f"it is newer than {published[:7]}, the newest published"
            if self._ref in branches
            else f"it is on branch {short_list(branches, 3)}, not merged"
            if branches
            else "it was never merged, or the branch was rewritten"
        )
        return BadCommit(
            f"{shown} is not on {self._ref}: {where}.",
            f"Merge it into {self._ref} first, or leave `commit` out for the newest.",
        )

    def _cut_off(self, name: str) -> BadCommit:
        return BadCommit(
            f"No commit or tag {name!r} is there: git-sync brought only the newest commits.",
            "Start git-sync with --depth=0, so that it brings the whole history.",
        )

    def _shallow(self) -> bool:
        return self.ask("rev-parse", "--is-shallow-repository").stdout.strip() == "true"

    def ask(self, *arguments: str, stdin: str = "") -> Done:
        """Runs git on this history; the command may fail. Names of files that are no UTF-8 have
        halves of surrogate pairs, in its answers and in `arguments`. Raises Unavailable, OSError.
        """
        return self._repository.run(*arguments, stdin=stdin)


def _seen_from(subdir: str, path: str) -> str:
    return os.path.relpath(path, subdir)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """The entries of git's `--name-status -z`: status, path, and a rename's or copy's new path."""
    words = iter([word for word in text.split("\0") if word.strip("\n")])
    for word in words:
        status = word.strip("\n")
        path = next(words)
        yield status, path, next(words) if status[0] in "RC" else ""
