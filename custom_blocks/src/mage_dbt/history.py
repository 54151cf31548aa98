"""What git knows of the commits that git-sync publishes: names, ancestry, renames.

Every question is asked in git-sync's own repository; nothing is fetched and nothing is written.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.errors import BadCommit, did_you_mean
from mage_dbt.lists import short_list
from mage_dbt.text import storable

HEX = re.compile(r"[0-9a-fA-F]{7,40}")
"""A SHA or the beginning of one; fewer digits are too often those of two commits."""

GIT_SECONDS = 120.0


@dataclass(frozen=True)
class Changes:
    """Files between two commits; paths are from the folder of dbt_project.yml, `../lib/x.sql` for
    one outside it, where a local package may lie."""

    renamed: Mapping[str, str]
    """Old path to new path, as git's rename detection tells."""
    added: frozenset[str]


class History:
    """The history behind git-sync's link `current`, of which `ref` is the branch or tag."""

    def __init__(self, sync: Path, ref: str) -> None:
        self._sync = sync
        self._ref = ref

    def resolve(self, name: str, published: str, was_used: bool = False) -> str:
        """The full SHA of a commit or tag that `published` has in its history.

        Never of a branch. `was_used` says that a run had it, so it was published once. Raises
        BadCommit with the reason.
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
        return self._git("merge-base", "--is-ancestor", older, newer).returncode == 0

    def distance(self, older: str, newer: str) -> int | None:
        """How many commits `newer` has that `older` lacks; None when git cannot say."""
        counted = self._git("rev-list", "--count", f"{older}..{newer}")
        return int(counted.stdout) if counted.returncode == 0 else None

    def before(self, sha: str, most: int) -> list[str]:
        """The commits that `sha` came from, nearest first, at most that many."""
        listed = self._git("rev-list", "--skip=1", f"--max-count={most}", sha)
        return listed.stdout.split() if listed.returncode == 0 else []

    def changes(self, old: str, new: str, subdir: str) -> Changes | None:
        """What was renamed and added from `old` to `new`; None when git cannot compare them.

        A file that was renamed in one commit and edited in others is followed through each; git
        calls it a rename when half of the file stayed.
        """
        if old == new:
            return Changes({}, frozenset())
        compared = self._git("diff-tree", "-r", "-M", "-z", "--name-status", old, new)
        if compared.returncode != 0:
            return None
        renamed: dict[str, str] = {}
        added: set[str] = set()
        for status, path, other in _entries(compared.stdout):
            if status.startswith("R"):
                renamed[path] = other
            elif status == "A":
                added.add(path)
        if self.contains(new, old):
            renamed |= self._followed(old, new)
        added -= set(renamed.values())
        return Changes(
            {_seen_from(subdir, one): _seen_from(subdir, other) for one, other in renamed.items()},
            frozenset(_seen_from(subdir, one) for one in added),
        )

    def _followed(self, old: str, new: str) -> dict[str, str]:
        """Renames from commit to commit, the chain of each file put together."""
        walk = ("log", "--first-parent", "-m", "--reverse", "--format=", "-M", "-z")
        logged = self._git(*walk, "--diff-filter=R", "--name-status", f"{old}..{new}")
        begun: dict[str, str] = {}
        for _, path, other in _entries(logged.stdout if logged.returncode == 0 else ""):
            begun[other] = begun.pop(path, path)
        return {first: last for last, first in begun.items() if first != last}

    def _named(self, name: str) -> set[str]:
        found = set()
        tag = self._git("rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}")
        if tag.returncode == 0:
            found.add(tag.stdout.strip())
        if HEX.fullmatch(name):
            objects = self._git("rev-parse", f"--disambiguate={name.lower()}").stdout
            kinds = self._git("cat-file", "--batch-check=%(objectname) %(objecttype)", say=objects)
            lines = [line.split(" ") for line in kinds.stdout.splitlines()]
            found |= {sha for sha, kind in lines if kind == "commit"}
        return found

    def _unknown(self, name: str) -> BadCommit:
        if self._git("show-ref", "--verify", "--quiet", f"refs/heads/{name}").returncode == 0:
            hint = (
                "Leave it out for the newest commit."
                if name == self._ref
                else f"Merge it into {self._ref}, then name the commit."
            )
            return BadCommit(f"{name} is a branch; a run takes a commit or a tag.", hint)
        if self._shallow():
            return self._cut_off(name)
        listed = self._git("for-each-ref", "--format=%(refname:strip=2)", "refs/tags").stdout
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
        subject = storable(self._git("log", "-1", "--format=%s", published).stdout.strip())
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
        branches = storable(self._git(*listed).stdout).split()
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
        return self._git("rev-parse", "--is-shallow-repository").stdout.strip() == "true"

    def _git(self, *arguments: str, say: str = "") -> subprocess.CompletedProcess[str]:
        # git-sync may run as another user; without safe.directory git refuses its folder.
        return subprocess.run(
            ["git", "-C", str(self._sync / "current"), "-c", "safe.directory=*", *arguments],
            input=say,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env=dict(os.environ),
            timeout=GIT_SECONDS,
            check=False,
        )


def _seen_from(subdir: str, path: str) -> str:
    return os.path.relpath(path, subdir)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """git's `--name-status -z`: status, path, and the new path of a rename or copy."""
    words = iter([word for word in text.split("\0") if word.strip("\n")])
    for word in words:
        status = word.strip("\n")
        path = next(words)
        yield status, path, next(words) if status[0] in "RC" else ""
