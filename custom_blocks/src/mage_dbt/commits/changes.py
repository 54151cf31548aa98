"""What changed between two commits: the files of which a node is made, and the commits between.

git answers from git-sync's repository. What people wrote there may be anything: names of files,
subjects, content.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from mage_dbt.base.redaction import scrub, scrubber
from mage_dbt.base.text import storable
from mage_dbt.commits.broken import PROJECT_FILE
from mage_dbt.commits.history import Changes, History
from mage_dbt.errors import Unavailable
from mage_dbt.model.commit import CommitLine
from mage_dbt.model.explanation import ChangedFile, FileRole, NoDiff
from mage_dbt.model.graph import Graph

ROLES = tuple(FileRole)
"""The likeliest cause of a failure first."""

PROJECT_FILES = (PROJECT_FILE, "packages.yml", "dependencies.yml", "package-lock.yml")

IN_YAML = (".yml", ".yaml")

MOST_FILES = 100
MOST_DIFFS = 20
"""Of the changed files in one answer: how many are named, and how many have their diff."""

LONGEST_LINES = 200
LONGEST_CHARACTERS = 20_000
"""Of one diff."""

LARGEST = "core.bigFileThreshold=512k"
"""git takes a larger file for binary, so that no diff of it is made."""

PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--unified=3", "--ignore-submodules=none")
"""Whatever the repository's own configuration or attributes say, git runs no other program."""

FORMAT = "--format=%x00%x00%H%x00%an%x00%aI%x00%s"
"""Begins with two NUL: between two names of files there is one, and no name is empty."""

LOG = ("log", "-z", "-c", "--name-only", "--no-renames", "--no-color", "--no-show-signature")
"""Of a merge, git names the files that are like those of none of its parents."""


def files_of(graph: Graph, node: str) -> dict[str, FileRole]:
    """The files of which a node is made, and what each is for it.

    For a test also those of the node that it tests. A file with several roles has the first. Of
    what is upstream its YAML is left out: mostly it describes.
    """
    files: dict[str, FileRole] = {}

    def take(role: FileRole, *paths: str) -> None:
        for path in filter(None, paths):
            if path not in files or ROLES.index(role) < ROLES.index(files[path]):
                files[path] = role

    itself = graph.nodes.get(node)
    made_of = [node, itself.tested] if itself and itself.tested else [node]
    for unique_id in made_of:
        if (found := graph.nodes.get(unique_id)) is None:
            continue
        take(_role_of(found.path, found.type), found.path)
        take(FileRole.YAML, found.yaml)
        take(FileRole.MACRO, *found.macros)
    for unique_id in graph.upstream(made_of):
        if (found := graph.nodes.get(unique_id)) is not None:
            take(FileRole.SEED if found.type == "seed" else FileRole.UPSTREAM, found.path)
            take(FileRole.UPSTREAM, *found.macros)
    take(FileRole.PROJECT, *PROJECT_FILES)
    return files


def changed_files(
    history: History, old: str, new: str, subdir: str, roles: Mapping[str, FileRole]
) -> tuple[ChangedFile, ...] | None:
    """Those of the files in `roles` that differ from `old` to `new`; None when git cannot tell.

    `roles` are those of `files_of`, with paths of either commit. The likeliest cause comes first,
    and of one role what changed last. git cannot tell when it lacks a commit, as in a history that
    was cut off or rewritten.
    """
    try:
        changes = history.changes(old, new, subdir)
        if changes is None:
            return None
        found = [*_of_interest(changes, subdir, roles)]
        found.sort(key=lambda file: ROLES.index(file.role))
        found = found[:MOST_FILES]
        if not found:
            return ()
        touches = _touches(history, old, new, [path for file in found for path in file.paths])
        if touches is None:
            return None
        last = _last_touches(touches)
        otherwise = _of_commit(history, new)
        diffs = _diffs(history, old, new, found[:MOST_DIFFS])
    except (Unavailable, OSError):
        return None
    clean = scrubber()
    changed = []
    for file in found:
        touch = max(
            (last[path] for path in file.paths if path in last),
            key=lambda touch: -touch.place,
            default=otherwise,
        )
        diff, cut = _cut(clean(storable(diffs[file].text if file in diffs else "")))
        changed.append(
            ChangedFile(
                path=storable(file.after or file.before),
                role=file.role,
                commit=touch.sha,
                author=clean(storable(touch.author)),
                at=touch.at,
                subject=clean(storable(touch.subject)),
                diff=diff,
                cut=cut,
                note=diffs[file].note if file in diffs else NoDiff.TOO_MANY,
            )
        )
    return tuple(sorted(changed, key=lambda file: (ROLES.index(file.role), -file.at.timestamp())))


def last_commits(history: History, newest: str, limit: int) -> list[CommitLine] | None:
    """A commit and those before it, the newest first; None when git cannot tell."""
    try:
        logged = history.ask(*LOG, FORMAT, f"--max-count={limit}", newest)
    except (Unavailable, OSError):
        return None
    if logged.returncode != 0:
        return None
    return [_line(touch) for touch in _read_log(logged.stdout)]


def commits_touching(
    history: History, sha: str, path: str, subdir: str, limit: int
) -> list[CommitLine] | None:
    """The last commits up to `sha` that changed a file, the newest first; None when git cannot
    tell. `path` counts from the folder of dbt_project.yml."""
    file = _from_top(subdir, path)
    try:
        logged = history.ask(
            *("--literal-pathspecs", *LOG, FORMAT, "--full-diff"),
            *(f"--max-count={limit}", sha, "--", file),
        )
    except (Unavailable, OSError):
        return None
    return [_line(touch) for touch in _read_log(logged.stdout)] if logged.returncode == 0 else None


def _line(touch: _Touch) -> CommitLine:
    return CommitLine(
        sha=touch.sha,
        author=scrub(storable(touch.author)),
        at=touch.at,
        subject=scrub(storable(touch.subject)),
        files=len(touch.files),
    )


@dataclass(frozen=True)
class _File:
    """A file that changed; paths count from the repository's top."""

    role: FileRole
    before: str
    """Empty for one that was added."""
    after: str
    """Empty for one that was removed."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (self.before, self.after))))


@dataclass(frozen=True)
class _Touch:
    """A commit in git's log."""

    sha: str
    author: str
    at: datetime
    subject: str
    files: tuple[str, ...] = ()
    place: int = 0
    """Its place in the log; the newest has 0."""


@dataclass(frozen=True)
class _Diff:
    text: str
    note: NoDiff = NoDiff.SHOWN


def _role_of(path: str, kind: str) -> FileRole:
    """The role of a node's own file, which is YAML for most tests and for sources."""
    if path.lower().endswith(IN_YAML):
        return FileRole.YAML
    return FileRole.SEED if kind == "seed" else FileRole.MODEL


def _of_interest(changes: Changes, subdir: str, roles: Mapping[str, FileRole]) -> Iterator[_File]:
    """The changed files that have a role. dbt's answers hold no halves of surrogate pairs."""

    def file(before: str, after: str) -> _File | None:
        known = [roles[name] for path in (before, after) if (name := storable(path)) in roles]
        if not known:
            return None
        role = min(known, key=ROLES.index)
        return _File(role, _from_top(subdir, before), _from_top(subdir, after))

    pairs = [
        *changes.renamed.items(),
        *((path, path) for path in sorted(changes.edited)),
        *(("", path) for path in sorted(changes.added)),
        *((path, "") for path in sorted(changes.removed)),
    ]
    for before, after in pairs:
        if (found := file(before, after)) is not None:
            yield found


def _from_top(subdir: str, path: str) -> str:
    return os.path.normpath(os.path.join(subdir, path)) if path else ""  # noqa: PTH118


def _touches(history: History, old: str, new: str, paths: Collection[str]) -> list[_Touch] | None:
    """The commits from `old` to `new` that touch one of these files, the newest first."""
    logged = history.ask("--literal-pathspecs", *LOG, FORMAT, f"{old}..{new}", "--", *paths)
    return [*_read_log(logged.stdout)] if logged.returncode == 0 else None


def _last_touches(touches: Sequence[_Touch]) -> dict[str, _Touch]:
    """By path, the newest commit that touched it."""
    last: dict[str, _Touch] = {}
    for touch in touches:
        for path in touch.files:
            last.setdefault(path, touch)
    return last


def _of_commit(history: History, sha: str) -> _Touch:
    """The commit itself: for a file that no commit between has touched, as when one goes back."""
    subject, author, at = history.describe(sha)
    return _Touch(sha, author, _moment(at), subject)


def _read_log(text: str) -> Iterator[_Touch]:
    """The commits that git has logged with LOG and FORMAT.

    git puts a line feed before the names of a commit's files, and a NUL before those of a merge's.
    """
    words = text.split("\0")
    at = empty = 0
    found: list[tuple[list[str], list[str]]] = []
    while at < len(words):
        if not words[at]:
            empty += 1
            at += 1
        elif empty >= 2:
            found.append((words[at : at + 4], []))
            at += 4
            empty = 0
        else:
            files = found[-1][1]
            files.append(words[at] if files else words[at].removeprefix("\n"))
            at += 1
            empty = 0
    for place, ((sha, author, moment, subject), names) in enumerate(found):
        yield _Touch(sha, author, _moment(moment), subject, tuple(names), place)


def _moment(text: str) -> datetime:
    """A commit's time may be anything that its author's git has written."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _diffs(history: History, old: str, new: str, files: Sequence[_File]) -> dict[_File, _Diff]:
    """The diffs of these files, in one call of git; another one for each that was rewritten as
    well as renamed, of which git sees two files."""
    paths = dict.fromkeys(path for file in files for path in file.paths)
    compare = ("diff-tree", "-r", "-M", "-z", "--patch-with-raw", *PLAIN)
    done = history.ask("--literal-pathspecs", "-c", LARGEST, *compare, old, new, "--", *paths)
    if done.returncode != 0:
        return {}
    by_paths = dict(_sections(done.stdout))
    found: dict[_File, _Diff] = {}
    for file in files:
        if (file.before, file.after) in by_paths:
            found[file] = by_paths[file.before, file.after]
        elif file.before and file.after:
            blobs = (f"{old}:{file.before}", f"{new}:{file.after}")
            done = history.ask("-c", LARGEST, "diff", "--no-prefix", *PLAIN, *blobs)
            found[file] = _diff(done.stdout.split("\n"), "M")
    return found


def _sections(text: str) -> Iterator[tuple[tuple[str, str], _Diff]]:
    """Paths before and after, and the diff, of each file in git's `--patch-with-raw -z`."""
    raw, _, patch = text.partition("\0\0")
    words = iter(raw.split("\0") if raw else ())
    entries = []
    for word in words:
        status = word.split(" ")[-1]
        path = next(words)
        other = next(words) if status[0] in "RC" else path
        entries.append((status, "" if status == "A" else path, "" if status == "D" else other))
    lines = patch.split("\n")
    # A line of a file's content begins with a sign of its own, so none looks like this.
    begins = [number for number, line in enumerate(lines) if line.startswith("diff --git ")]
    parts = iter(zip(begins, [*begins[1:], len(lines)], strict=True))
    for status, before, after in entries:
        # A link that became a file, say, has two parts: one removes, another one adds.
        own = islice(parts, 2 if status == "T" else 1)
        diffs = [_diff(lines[begin:end], status) for begin, end in own]
        text = "\n".join(diff.text for diff in diffs if diff.text)
        note = diffs[0].note if diffs else NoDiff.UNKNOWN
        yield (before, after), _Diff(text, NoDiff.SHOWN if text else note)


def _diff(lines: Sequence[str], status: str) -> _Diff:
    """The diff in git's part on one file, without the heading."""
    body = next((number for number, line in enumerate(lines) if line.startswith("@@ ")), None)
    if body is not None:
        return _Diff("\n".join(lines[body:]).rstrip("\n"))
    if any(line.startswith("Binary files ") for line in lines):
        return _Diff("", NoDiff.BINARY)
    if status.startswith("R"):
        return _Diff("", NoDiff.RENAMED)
    return _Diff("", NoDiff.MODE if status == "M" else NoDiff.EMPTY)


def _cut(text: str) -> tuple[str, bool]:
    """The text within its bounds, and whether something was cut off."""
    kept = "\n".join(text.split("\n")[:LONGEST_LINES])[:LONGEST_CHARACTERS]
    return kept, len(kept) < len(text)
