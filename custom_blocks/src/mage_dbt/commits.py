"""The store of commits: it watches what git-sync publishes and makes each commit ready, once.

Making a commit ready is: export it from git, bring its packages, let dbt parse it, and write
`ready.json` last. A commit that does not get there is broken, with dbt's message, and the last
ready one stays live. One folder a commit and way of parsing it (dbt's version, profile, target).
What dbt makes of a commit depends on variables and environment too: `seen` asks for just those.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mage_dbt import elsewhere, yaml_file
from mage_dbt.commit import READY_FILE, Commit, facts
from mage_dbt.errors import (
    BadCommit,
    CommitBroken,
    ContentMissing,
    LedgerUnreachable,
    NoCommitReady,
    PackagesMissing,
    PreparationFailed,
    RequestError,
    SettingError,
    Unavailable,
    WorkspaceError,
    did_you_mean,
)
from mage_dbt.history import History
from mage_dbt.home import Home
from mage_dbt.lists import short_list
from mage_dbt.profile import Profile
from mage_dbt.reason import words_first
from mage_dbt.run import new_run_id
from mage_dbt.settings import Settings
from mage_dbt.worker import DESCRIBE, Job
from mage_dbt.worker.cold import dbt_environment
from mage_dbt.worker.forker import ParentGone
from mage_dbt.worker.parent_process import Parent, Task
from mage_dbt.worker.warm import Key, Warm
from mage_dbt.yaml_file import REPAIR

log = logging.getLogger(__name__)

KEPT = 20
"""Commits kept on the disk, beside those a run is using."""

JUST_PREPARED_SECONDS = 3600.0
"""A commit asked for by name is kept at least this long, whether a run has taken it up or not."""

FORM = 5
"""Format version of a commit's folder; a folder of another version is made again."""

RETRY_SECONDS = 5.0
LONGEST_PAUSE = 60.0
"""Between two tries at a commit that may be good (its packages could not be had, dbt was killed):
at first and, twice as long each time, at most."""

PREPARE_SECONDS = 1800.0

LOOK_BACK = 500
"""How many commits back one that is ready is looked for, to compare dbt's warnings with."""

LOOK_SECONDS = 1.0
"""Between two looks at a link that has not changed: profile, secrets and parent may have."""
GIT_SECONDS = 120.0

AGAIN = "It is tried again, at least every minute."

NETWORK = "network"

OF_PACKAGES = {
    NETWORK: f"Is the network there? {AGAIN}",
    "access": "The workspace may not read it: give git its credentials, and start the runner again "
    "(docs/deployment.md).",
}
"""What to do about packages, by why they cannot be had; see `worker.packages.cause_of`."""

READS_A_VARIABLE = re.compile(r"""\b(?:has_)?var\s*\(\s*(?:(['"])([^'"]+)\1|)""")

MAY_DEPEND_ON_VARIABLES = re.compile(r"\b(?:has_)?var\b")
"""Not `env_var`."""

MAY_READ_VARIABLES = frozenset({".sql", ".yml", ".yaml", ".py"})

PROJECT_FILE = "dbt_project.yml"

DECLARED_IN = (PROJECT_FILE, "packages.yml", "dependencies.yml")
"""Files that dbt reads before any other, whose messages on one that is no YAML do not name it."""


@dataclass(frozen=True)
class Broken:
    """A commit that dbt could not make ready."""

    sha: str
    subject: str
    author: str
    error: CommitBroken
    since: float
    """Seconds since the epoch."""
    graph: str = ""
    """With which profile and environment: with others it may not be. See `Key.digest`."""

    @property
    def by_machine(self) -> bool:
        """Whether this machine or its network failed: then the commit may be good, and its author
        is not named."""
        return self.error.by_itself

    def same_as(self, other: Broken | None) -> bool:
        """Whether there is nothing new to tell after `other`."""
        return other is not None and (self.sha, self.by_machine) == (other.sha, other.by_machine)

    def to_json(self) -> dict[str, Any]:
        return {
            "sha": self.sha,
            "subject": self.subject,
            "author": self.author,
            "message": self.error.message,
            "hint": self.error.hint,
            "since": self.since,
            "by_machine": self.by_machine,
        }


class Commits:
    """The commits of one workspace. `look` does the work; everything else only reads."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        warm: Warm,
        in_use: Callable[[], set[Path]],
        tell: Callable[[Commit | Broken], None],
    ) -> None:
        self._settings = settings
        self._home = home
        self._warm = warm
        self._sync = settings.dbt_metric_dir or home.sync
        self._in_use = in_use
        self._tell = tell
        self._live: Commit | None = None
        self._broken: Broken | None = None
        self._untold: list[Commit | Broken] = []
        self._tried_at = 0.0
        self._pause = RETRY_SECONDS
        self._preparing = ""
        self._seen: str | None = None
        self._looked_at = 0.0
        self._looking = threading.Lock()
        self._asking = threading.Lock()
        self._folders: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()
        self.history = History(self._sync, settings.dbt_metric_ref)
        # As installed when the runner started: another version means another environment.
        self._dbt = _dbt_versions()

    @property
    def live(self) -> Commit | None:
        """The newest commit that is ready."""
        return self._live

    @property
    def broken(self) -> Broken | None:
        """The published commit, when it could not be made ready."""
        return self._broken

    @property
    def preparing(self) -> str:
        """The commit being made ready now, or empty."""
        return self._preparing

    def newest(self) -> Commit:
        """The commit a run uses. Raises NoCommitReady, with the reason."""
        if self._live is None:
            if self._broken:
                how = "cannot be made ready" if self._broken.by_machine else "is broken"
                raise NoCommitReady(
                    f"No commit of dbt-metric is ready: {self._broken.sha[:7]} "
                    f"({self._broken.subject}) {how}. {self._broken.error.message}",
                    self._broken.error.hint,
                )
            doing = f"{self._preparing[:7]} is being parsed" if self._preparing else "none is there"
            hint = "`mage-dbt status` says what it waits for."
            if self._settings.dbt_metric_dir and self.published() is None:
                hint = f"git-sync has made no link `current` in DBT_METRIC_DIR={self._sync}."
            raise NoCommitReady(f"No commit of dbt-metric is ready yet: {doing}.", hint)
        return self._live

    def find(self, sha: str) -> Commit | None:
        """A ready commit by its full SHA; its target is empty where dbt would have to be asked."""
        profile = Profile.of(self._settings, self._home)
        try:
            commit = Commit.read(self._folder(sha, profile))
        except FileNotFoundError:
            return None
        return commit if self._holds(commit, profile) else replace(commit, target="")

    def seen(self, commit: Commit, variables: Mapping[str, Any], target: str) -> Commit:
        """The commit as dbt sees it now with these variables, on this target.

        Takes as long as a run needs to plan; dbt parses when no run has asked for the same lately.
        Raises RequestError, with dbt's message, when it cannot.
        """
        profile = Profile.of(self._settings, self._home)
        if target != commit.target:
            profile = replace(profile, target=target)
        try:
            environment = dbt_environment(os.environ)
        except SettingError:
            return commit  # a secret cannot be read: the run says so
        key = _key(commit.project, profile, environment, variables)
        if key.digest == commit.graph and not commit.clock:
            return commit
        return self._ask_again(commit, key, variables)

    def target(self, commit: Commit, variables: Mapping[str, Any]) -> str:
        """dbt's target by name for a run with these variables; see `seen`."""
        profiles = Profile.of(self._settings, self._home).folder / "profiles.yml"
        if not variables or not MAY_DEPEND_ON_VARIABLES.search(
            profiles.read_text(errors="replace")
        ):
            return commit.target  # no need to ask dbt, which takes longer than to plan
        return self.seen(commit, variables, commit.target).target

    def named(self, name: str, was_used: bool = False) -> Commit:
        """The commit with this SHA or tag, made ready now if need be.

        `was_used` says that a run had it. Raises BadCommit when it is not one of the published
        branch or dbt cannot parse it, and Unavailable when it is not the commit's fault. One is
        made ready at a time, beside the newest one's own preparation.
        """
        published = self.published()
        if published is None:
            return self.newest()  # raises, with the reason
        sha = self.history.resolve(name, published, was_used)
        profile = Profile.of(self._settings, self._home)
        folder = self._folder(sha, profile)
        if self._live and self._live.folder == folder:
            return self._live
        try:
            with self._asking:
                found = self._prepared(sha, folder, profile)
                os.utime(folder)
        except CommitBroken as error:
            if error.by_itself:
                raise Unavailable(error.message, "Ask again in a minute.") from error
            raise BadCommit(error.message, "Name a commit that parses, or none.") from error
        return found

    def subject(self, sha: str) -> str:
        """The first line of a commit's message; empty where git cannot say."""
        return self._describe(sha)[0]

    def published(self) -> str | None:
        """The SHA that git-sync's link names now."""
        try:
            return (self._sync / "current").readlink().name
        except OSError:
            return None

    def behind(self) -> int | None:
        """How many commits the live one is behind the published one; None when git cannot say."""
        published = self.published()
        if self._live is None or published is None:
            return None
        return self.history.distance(self._live.sha, published)

    def poll(self) -> None:
        """Looks if the link has changed, and now and then if not: so little can be asked often."""
        passed = time.monotonic() - self._looked_at
        if passed >= LOOK_SECONDS or self.published() != self._seen:
            self.look()

    def look(self) -> None:
        """Makes the published commit ready, if it is not. Safe to call from any thread."""
        with self._looking:
            self._tell_news()
            sha = self._seen = self.published()
            self._looked_at = time.monotonic()
            if sha is None:
                return
            profile = Profile.of(self._settings, self._home)
            folder = self._folder(sha, profile)
            known = self._live if self._live and self._live.folder == folder else None
            if known and self._holds(known, profile):
                self._broken = None
                self._keep_warm(known, profile)
                return
            graph = self._graph(self._project(folder), profile)
            if self._broken and self._broken.sha == sha and not self._again(self._broken, graph):
                return
            self._preparing = sha
            try:
                found: Commit | Broken = self._prepared(sha, folder, profile)
            except CommitBroken as error:
                found = self._as_broken(sha, error, graph)
            except Exception as problem:  # whatever it is, `status` must say it
                log.exception("commit %s", sha[:7])
                found = self._as_broken(
                    sha,
                    PreparationFailed(
                        f"{sha[:7]} could not be made ready: {problem}",
                        f"{AGAIN[:-1]}; runner.log has the whole of it.",
                    ),
                    graph,
                )
            finally:
                self._preparing = ""
            # What is so, is so before anybody is told: an error while telling must not undo it.
            if isinstance(found, Broken):
                if not found.same_as(self._broken):
                    self._untold.append(found)
                self._broken = found
            else:
                if not known or self._broken:
                    self._untold.append(found)
                self._live, self._broken = found, None
            self._tell_news()
            if isinstance(found, Commit):
                self._keep_warm(found, profile)
                self._prune()

    def _tell_news(self) -> None:
        """Tells what has not been told; while the ledger is away the next look tries again."""
        while self._untold:
            found = self._untold[0]
            try:
                self._tell(found)
            except LedgerUnreachable as error:
                log.warning("commit %s: %s", found.sha[:7], error)
                return
            except Exception:
                log.exception("commit %s is not told of", found.sha[:7])
            del self._untold[0]

    def _keep_warm(self, commit: Commit, profile: Profile) -> None:
        try:
            environment = dbt_environment(os.environ)
        except SettingError:
            return  # a secret cannot be read: each run says so
        self._warm.keep(_key(commit.project, profile, environment), commit.parsed)

    def _as_broken(self, sha: str, error: CommitBroken, graph: str) -> Broken:
        subject, author, _ = self._describe(sha)
        before = self._broken
        again = before is not None and before.sha == sha
        since = before.since if before and again else time.time()
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if again else RETRY_SECONDS
        self._tried_at = time.monotonic()
        return Broken(sha, subject, author, error, since, graph)

    def _again(self, broken: Broken, graph: str) -> bool:
        """Whether a commit that is broken may not be any more: by itself, or with this graph."""
        if graph and broken.graph != graph:
            return True
        if isinstance(broken.error, ContentMissing):
            return self._brought_since(broken.sha, broken.error.submodules)
        return broken.error.by_itself and time.monotonic() - self._tried_at > self._pause

    def _project(self, folder: Path) -> Path:
        return folder / "tree" / self._settings.dbt_metric_subdir

    def _graph(self, project: Path, profile: Profile) -> str:
        """`Key.digest` of runs without variables now; empty while a secret cannot be read."""
        try:
            return _key(project, profile, dbt_environment(os.environ)).digest
        except SettingError:
            return ""

    def _holds(self, commit: Commit, profile: Profile) -> bool:
        """Whether what is known of the commit is so now; without a secret nobody can ask."""
        return self._graph(commit.project, profile) in ("", commit.graph)

    def _folder(self, sha: str, profile: Profile) -> Path:
        way = repr((FORM, self._dbt, profile.fingerprint(), self._settings.dbt_metric_subdir))
        return self._home.commits / f"{sha[:12]}-{hashlib.sha256(way.encode()).hexdigest()[:8]}"

    @contextmanager
    def _alone_in(self, folder: Path) -> Iterator[None]:
        """Nobody else prepares or removes the commit in `folder`."""
        with self._guard:
            lock = self._folders.setdefault(folder, threading.Lock())
        with lock:
            yield

    def _prepared(self, sha: str, folder: Path, profile: Profile) -> Commit:
        with self._alone_in(folder):
            try:
                commit = Commit.read(folder)
            except FileNotFoundError:
                _remove(folder)
                return self._prepare(sha, folder, profile)
            if self._holds(commit, profile):
                return commit
            key = _key(commit.project, profile, dbt_environment(os.environ))
            try:
                commit = self._ask_again(commit, key, {})
            except RequestError as error:
                raise CommitBroken(f"dbt cannot parse {sha[:7]}: {error}", REPAIR) from error
            except WorkspaceError as error:
                raise _not_by_dbt(sha, error.message) from error
            _write_ready(commit)
            return commit

    def _prepare(self, sha: str, folder: Path, profile: Profile) -> Commit:
        folder.mkdir(parents=True)
        lacking = self._export(sha, folder / "tree")
        project = self._project(folder)
        if not (project / PROJECT_FILE).is_file():
            raise CommitBroken(*_no_project(sha, folder / "tree", self._settings.dbt_metric_subdir))
        try:
            return self._parsed(sha, folder, profile, lacking)
        except CommitBroken as error:
            raise self._with_lacking(sha, project, lacking, error) from None

    def _parsed(self, sha: str, folder: Path, profile: Profile, lacking: Sequence[str]) -> Commit:
        """The commit once dbt has parsed it, by a process that runs can be forked from."""
        project = self._project(folder)
        for name in DECLARED_IN:
            yaml_file.read(project / name)
        environment = dbt_environment(os.environ)
        key = _key(project, profile, environment)
        arguments = (
            *key.dbt_arguments,
            *("--log-path", str(folder / "logs")),
            *("--target-path", str(folder / "target")),
        )
        task = Task(arguments, {}, packages=str(self._home.packages), describe=True)
        self._home.packages.mkdir(parents=True, exist_ok=True)
        with self._warm.prepare(task, folder, environment) as parent:
            told = _told_by(parent, sha)
            self._refuse_incomplete(sha, project, lacking, told)
            subject, author, committed_at = self._describe(sha)
            _close_to_writing(folder / "tree")
            commit = Commit(
                sha=sha,
                subject=subject,
                author=author,
                committed_at=committed_at,
                folder=folder,
                project=project,
                variables=_variables_read((folder / "tree").rglob("*"), profile),
                clock=tuple(told["clock"]),
                notes=(
                    *told["notes"],
                    *_clock_notes(told["clock"]),
                    *(f"{one} is a git submodule; it was not brought." for one in lacking),
                ),
                graph=key.digest,
                **facts(told["graph"]),
            )
            commit = self._with_news(commit, profile)
            _write_ready(commit)
            self._warm.adopt(key, parent.keep())
        return commit

    def _with_news(self, commit: Commit, profile: Profile) -> Commit:
        """The new commit, with which of dbt's warnings the ready one before it did not have."""
        warnings = commit.parse_warnings
        before = self._before(commit.sha, profile) if warnings.total else None
        if before is None:
            return commit
        if before.sha == commit.sha:  # parsed in another way, by another version of dbt say
            found = warnings.instead_of(before.parse_warnings)
        else:
            found = warnings.after(before.parse_warnings, before.sha)
        return replace(commit, parse_warnings=found)

    def _before(self, sha: str, profile: Profile) -> Commit | None:
        """The commit that was ready before this one; by git, where it was not the live one."""
        live = self._live
        if live and (sha == self._preparing or self.history.contains(sha, live.sha)):
            return live
        for one in self.history.before(sha, LOOK_BACK):
            try:
                return Commit.read(self._folder(one, profile))
            except FileNotFoundError:
                continue
        return None

    def _ask_again(self, commit: Commit, key: Key, variables: Mapping[str, Any]) -> Commit:
        """What dbt makes of a ready commit with another graph; a run's worker tells it."""
        job = Job(
            folder=self._home.warm / f"graph-{new_run_id(datetime.now(UTC))}",
            commit=commit.sha,
            project=commit.project,
            parsed=commit.parsed,
            dbt_arguments=key.dbt_arguments,
            command=DESCRIBE,
            select=(),
            exclude=(),
            flags=(),
            variables=variables,
            fresh=bool(commit.clock),
        )
        worker = self._warm.worker(job)
        try:
            return commit.with_graph(key.digest, worker.describe())
        finally:
            worker.stop()
            worker.close()
            shutil.rmtree(job.folder, ignore_errors=True)

    def _export(self, sha: str, tree: Path) -> list[str]:
        """Writes the commit's files with git's own checkout, touching nothing git-sync keeps.

        Gives the paths of submodules that are not here.
        """
        tree.mkdir()
        index = tree.parent / "index"
        wrong, listed = elsewhere.export(self._git, self._sync / "current", sha, tree, index)
        if wrong:
            raise PreparationFailed(
                f"git could not export {sha[:7]}: {wrong}",
                f"Is the disk full? Is the repository whole (`git fsck`)? {AGAIN}",
            )
        return list(
            elsewhere.bring_submodules(self._git, self._worktrees(sha), listed, tree, index)
        )

    def _worktrees(self, sha: str) -> list[Path]:
        """Where git-sync may have the commit's submodules: they are not in its own repository."""
        return [self._sync / ".worktrees" / sha, self._sync / "current"]

    def _brought_since(self, sha: str, paths: Sequence[str]) -> bool:
        listed = self._git(self._sync / "current", "ls-tree", "-r", "-z", "--full-tree", sha)
        pinned = dict(elsewhere.submodules(listed.stdout))
        return any(
            path in pinned and elsewhere.has(self._git, worktree / path, pinned[path])
            for path in paths
            for worktree in self._worktrees(sha)
        )

    def _with_lacking(
        self, sha: str, project: Path, lacking: Sequence[str], error: CommitBroken
    ) -> CommitBroken:
        """What dbt failed at, and what of the commit was not brought, which may be why."""
        if isinstance(error, PreparationFailed | ContentMissing):
            return error
        held = _pointers(project, elsewhere.pointers(elsewhere.files_for_dbt(project)))
        found = [*(f"{one} is a git submodule" for one in lacking), *held]
        if not found:
            return error
        packages = isinstance(error, PackagesMissing)
        if lacking and (not packages or any(one in error.message for one in lacking)):
            return self._content_missing(sha, found, lacking, f" dbt says: {error.message}")
        error.message = f"{error.message} Besides, {short_list(found)}."
        return error

    def _refuse_incomplete(
        self, sha: str, project: Path, lacking: Sequence[str], parsed: Mapping[str, Any]
    ) -> None:
        """Raises ContentMissing when dbt has read something else in place of what was not brought,
        or would have read it there."""
        subdir = self._settings.dbt_metric_subdir
        read = [one for one in lacking if elsewhere.touches(one, subdir, parsed["paths"])]
        found = [f"{one} is a git submodule" for one in read]
        found += _pointers(project, parsed["pointers"])
        if found:
            raise self._content_missing(sha, found, read, "")

    @staticmethod
    def _content_missing(
        sha: str, found: Sequence[str], submodules: Sequence[str], more: str
    ) -> ContentMissing:
        return ContentMissing(
            f"{sha[:7]} is not whole: {short_list(found)}; the content was not brought.{more}",
            "Git keeps it elsewhere: docs/operations.md says how it is brought.",
            tuple(submodules),
        )

    def _describe(self, sha: str) -> tuple[str, str, str]:
        """Subject, author and time of a commit; empty where git cannot say."""
        try:
            shown = self._git(self._sync / "current", "log", "-1", "--format=%s%x00%an%x00%aI", sha)
        except (PreparationFailed, OSError):  # a commit is judged without its name too
            return ("", "", "")
        parts = shown.stdout.strip().split("\0")
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")

    @staticmethod
    def _git(
        folder: Path, *arguments: str, index: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Bytes that are no UTF-8 come as U+FFFD. Raises PreparationFailed when it takes long."""
        # git-sync may run as another user; without safe.directory git refuses its folder. What
        # git-lfs has not brought stays a pointer, of which we tell, instead of git's failure.
        options = ("-c", "safe.directory=*", "-c", "filter.lfs.required=false")
        try:
            return subprocess.run(
                ["git", "-C", str(folder), *options, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                env=dict(os.environ) | ({"GIT_INDEX_FILE": str(index)} if index else {}),
                timeout=GIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PreparationFailed(
                f"git {arguments[0]} took more than {GIT_SECONDS:.0f} s.",
                AGAIN,
            ) from None

    def _prune(self) -> None:
        folders = [one for one in self._home.commits.iterdir() if one.is_dir()]
        folders.sort(key=lambda one: one.stat().st_mtime, reverse=True)
        limit = time.time() - JUST_PREPARED_SECONDS
        for folder in folders[KEPT:]:
            with self._alone_in(folder):
                kept = self._in_use() | ({self._live.folder} if self._live else set())
                if folder not in kept and folder.stat().st_mtime < limit:
                    _remove(folder)


def _no_project(sha: str, tree: Path, subdir: str) -> tuple[str, str]:
    """What is wrong where dbt_project.yml is not, and which setting puts it right."""
    found = sorted(
        (os.path.relpath(one.parent, tree) for one in tree.rglob(PROJECT_FILE)),
        key=lambda one: (one.count("/"), one),
    )
    missing = not (tree / subdir).is_dir()
    where = f"no folder {subdir!r}" if missing else f"no {PROJECT_FILE} in {subdir!r}"
    if not found:
        return f"{sha[:7]} has {where}.", "DBT_METRIC_SUBDIR names the folder that holds it."
    place = found[0] if len(found) == 1 else f"one of {short_list(found)}"
    return (
        f"{sha[:7]} has {where}; there is one in {short_list(found)}.",
        f"Set DBT_METRIC_SUBDIR={place} and start again.",
    )


def _pointers(project: Path, found: Mapping[str, str]) -> list[str]:
    return [f"{os.path.relpath(file, project)} is {what}" for file, what in found.items()]


def _key(
    project: Path,
    profile: Profile,
    environment: Mapping[str, str],
    variables: Mapping[str, Any] | None = None,
) -> Key:
    return Key.of(project, profile.for_project(project), variables or {}, environment)


def _told_by(parent: Parent, sha: str) -> dict[str, Any]:
    """What the process that parses a new commit answers.

    Raises CommitBroken; PreparationFailed when dbt has not got as far as an answer of its own.
    """
    try:
        told = parent.told.result(PREPARE_SECONDS)
    except ParentGone as error:
        raise _not_by_dbt(sha, f"dbt's process did not get to its end: {error}") from error
    except TimeoutError:
        raise _not_by_dbt(sha, f"dbt was not done after {PREPARE_SECONDS:.0f} s") from None
    if told["failed"] == "machine":
        raise _not_by_dbt(sha, told["message"])
    if told["failed"] == "packages":
        declared = told["declared"]
        named = [one for one in declared if one.split()[0] in told["message"]]
        of = f": {', '.join(named or declared)}" if declared else ""
        raise PackagesMissing(
            f"The dbt packages of {sha[:7]} cannot be had{of}. dbt says: {told['message']}",
            OF_PACKAGES.get(told["cause"], REPAIR),
            by_itself=told["cause"] == NETWORK,
        )
    if told["failed"]:
        reason = words_first(told["message"])
        raise CommitBroken(f"dbt cannot parse {sha[:7]}: {reason}", REPAIR)
    return told


def _not_by_dbt(sha: str, reason: str) -> PreparationFailed:
    return PreparationFailed(f"{sha[:7]} could not be read. {reason.removesuffix('.')}.", AGAIN)


def _clock_notes(clock: Sequence[str]) -> Iterator[str]:
    if clock:
        yield (
            f"Configuration reads the clock ({short_list(clock)}): dbt parses all of dbt-metric "
            "again for each run."
        )


def _write_ready(commit: Commit) -> None:
    aside = commit.folder / f"{READY_FILE}.new"
    aside.write_text(json.dumps(commit.to_json()))
    aside.rename(commit.folder / READY_FILE)


def _close_to_writing(tree: Path) -> None:
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def _variables_read(files: Iterable[Path], profile: Profile) -> tuple[str, ...] | None:
    """Names that one of the files seems to read with var(); None if one may be computed."""
    found: set[str] = set()
    for file in (profile.folder / "profiles.yml", *files):
        if file.suffix not in MAY_READ_VARIABLES or not file.is_file():
            continue
        for match in READS_A_VARIABLE.finditer(file.read_text(errors="replace")):
            if match.group(2) is None:
                return None
            found.add(match.group(2))
    return tuple(sorted(found))


def _dbt_versions() -> tuple[str, ...]:
    names = ((one.metadata["Name"] or "", one.version) for one in distributions())
    return tuple(sorted(f"{name}={version}" for name, version in names if name.startswith("dbt-")))


def _remove(folder: Path) -> None:
    """Removes a commit's folder, whose files and folders are read-only."""
    if not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    shutil.rmtree(folder)


def unread_variable(name: str, commit: Commit) -> str | None:
    """A warning when no file of this commit seems to read `name`. Only dbt, when it runs, knows."""
    if commit.variables is None or name in commit.variables:
        return None
    hint = did_you_mean(name, commit.variables)
    return f'Nothing in dbt-metric at {commit.sha[:7]} seems to read "{name}". {hint}'.strip()
