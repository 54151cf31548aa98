"""The store of commits: which one is live, which one is broken, and any other by its name.

It polls the link that git-sync replaces, and has each published commit made ready. A commit that
cannot be made ready is broken, with dbt's message; the last ready one stays live.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mage_dbt.base.tool_command import tool_command
from mage_dbt.commits.broken import AGAIN, Broken
from mage_dbt.commits.folders import Folders
from mage_dbt.commits.graph_key import GraphKey, dbt_environment
from mage_dbt.commits.graphs import Graphs
from mage_dbt.commits.history import History
from mage_dbt.commits.parser import Parser
from mage_dbt.commits.preparation import Preparation
from mage_dbt.commits.profile import Profile
from mage_dbt.commits.variables import depends_on_variables
from mage_dbt.errors import (
    BadCommit,
    CommitBroken,
    ContentMissing,
    LedgerUnreachable,
    NoCommitReady,
    PreparationFailed,
    SettingError,
    Unavailable,
)
from mage_dbt.home import Home
from mage_dbt.model.commit import Commit
from mage_dbt.model.graph import Graph
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 60.0
"""Between two attempts at a commit that may be good (no packages, dbt was killed): at first and at
most; the pause doubles each time."""

POLL_SECONDS = 1.0
"""Between two full looks while the link stays the same: profile, secrets or dbt's process may have
changed."""


@dataclass(frozen=True)
class Attempt:
    """The published commit, while it is being made ready."""

    sha: str
    subject: str
    author: str
    since: float
    """Seconds since the epoch."""
    begun: float
    """The same on the monotonic clock."""


class Commits:
    """The commits of one workspace.

    `poll` and `look` make the published commit ready, `named` an earlier one; all else only reads.
    """

    def __init__(
        self,
        settings: Settings,
        home: Home,
        parser: Parser,
        in_use: Callable[[], set[Path]],
        announce: Callable[[Commit | Broken], None],
    ) -> None:
        """`in_use` returns the folders of commits that runs use. `announce` is called once for each
        commit that became ready or broken."""
        self._settings = settings
        self._home = home
        self._parser = parser
        self._sync = settings.dbt_metric_dir or home.sync
        self._in_use = in_use
        self._announce = announce
        self._live: Commit | None = None
        self._broken: Broken | None = None
        self._unannounced: list[Commit | Broken] = []
        self._tried_at = 0.0
        self._pause = RETRY_SECONDS
        self._attempted: Attempt | None = None
        self._seen: str | None = None
        self._counted: tuple[str, str, int] | None = None
        self._looked_at = 0.0
        self._looking = threading.Lock()
        self._naming = threading.Lock()
        self.history = History(self._sync, settings.dbt_metric_ref)
        self._folders = Folders(settings, home)
        self._graphs = Graphs()
        self._preparation = Preparation(settings, home, parser, self.history, self._folders)

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
        attempt = self._attempted
        return attempt.sha if attempt else ""

    @property
    def attempt(self) -> Attempt | None:
        """The commit being made ready now, with its name and since when."""
        return self._attempted

    def preparing_left(self) -> float | None:
        """About how many seconds that takes yet, by the live commit; None where nothing tells."""
        attempt, live = self._attempted, self._live
        if attempt is None or live is None or live.seconds is None:
            return None
        return max(live.seconds - (time.monotonic() - attempt.begun), 0.0)

    def graph(self, sha: str) -> Graph | None:
        """The graph of a commit by its full SHA, as published: without variables.

        None where no folder of the commit has it any more.
        """
        live = self._live
        if live and live.sha == sha:
            folders = [live.folder]
        else:
            own = self._folders.of(sha, self._profile())
            folders = [own, *(other for other in self._folders.all_of(sha) if other != own)]
        return self._graphs.first_of(folders)

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
            preparing = self.preparing
            doing = f"{preparing[:7]} is being parsed" if preparing else "none is there"
            hint = f"`{tool_command('status')}` says what it waits for."
            if self._settings.dbt_metric_dir and self.published() is None:
                hint = f"git-sync has made no link `current` in DBT_METRIC_DIR={self._sync}."
            raise NoCommitReady(f"No commit of dbt-metric is ready yet: {doing}.", hint)
        return self._live

    def find(self, sha: str) -> Commit | None:
        """A ready commit by its full SHA; its target is empty where dbt would have to be asked."""
        profile = self._profile()
        try:
            commit = Commit.read(self._folders.of(sha, profile))
        except FileNotFoundError:
            return None
        return commit if self._preparation.holds(commit, profile) else replace(commit, target="")

    def seen(self, commit: Commit, variables: Mapping[str, Any], target: str) -> Commit:
        """The commit as dbt sees it now with these variables, on this target.

        Takes as long as a run needs to plan; dbt parses when no run has asked for the same lately.
        Raises RequestError, with dbt's message, when it cannot.
        """
        profile = self._profile()
        if target != commit.target:
            profile = replace(profile, target=target)
        try:
            environment = dbt_environment(os.environ)
        except SettingError:
            return commit  # a secret cannot be read: the run reports it
        key = GraphKey.of_commit(commit.project, profile, environment, variables)
        if key.digest == commit.graph and not commit.clock:
            return commit
        return self._preparation.described(commit, key, variables)

    def target(self, commit: Commit, variables: Mapping[str, Any]) -> str:
        """dbt's target by name for a run with these variables; see `seen`."""
        if not variables or not depends_on_variables(self._profile().folder / "profiles.yml"):
            return commit.target  # to ask dbt would take longer than to plan
        return self.seen(commit, variables, commit.target).target

    def named(self, name: str, was_used: bool = False) -> Commit:
        """The commit with this SHA or tag, made ready now if need be.

        `was_used` says that a run had it. One is made ready at a time, beside the newest one's own
        preparation. Raises BadCommit when it is not one of the published branch or dbt cannot parse
        it, and Unavailable when it is not the commit's fault.
        """
        published = self.published()
        if published is None:
            return self.newest()  # raises, with the reason
        sha = self.history.resolve(name, published, was_used)
        profile = self._profile()
        folder = self._folders.of(sha, profile)
        if self._live and self._live.folder == folder:
            return self._live
        try:
            with self._naming:
                found = self._ready(sha, profile)
                os.utime(folder)
        except CommitBroken as error:
            if error.by_itself:
                raise Unavailable(error.message, "Ask again in a minute.") from error
            raise BadCommit(error.message, "Name a commit that parses, or none.") from error
        return found

    def subject(self, sha: str) -> str:
        """The first line of a commit's message; empty where git cannot say."""
        return self.history.describe(sha)[0]

    def published(self) -> str | None:
        """The SHA that git-sync's link names now."""
        try:
            return (self._sync / "current").readlink().name
        except OSError:
            return None

    def behind(self) -> int | None:
        """How many commits the live one is behind the published one; None when git cannot say.

        git is asked once for each pair of commits.
        """
        live, published = self._live, self.published()
        if live is None or published is None:
            return None
        counted = self._counted
        if counted is None or counted[:2] != (live.sha, published):
            distance = self.history.distance(live.sha, published)
            if distance is None:
                return None
            counted = self._counted = (live.sha, published, distance)
        return counted[2]

    def poll(self) -> None:
        """Looks when the link has changed, else every POLL_SECONDS: it may be called often."""
        passed = time.monotonic() - self._looked_at
        if passed >= POLL_SECONDS or self.published() != self._seen:
            self.look()

    def look(self) -> None:
        """Makes the published commit ready, if it is not. Safe to call from any thread."""
        with self._looking:
            self._announce_news()
            sha = self._seen = self.published()
            self._looked_at = time.monotonic()
            if sha is None:
                return
            profile = self._profile()
            live = self._live
            known = live if live and live.folder == self._folders.of(sha, profile) else None
            if known and self._preparation.holds(known, profile):
                self._broken = None
                self._keep_warm(known, profile)
                return
            graph = self._preparation.graph(sha, profile)
            if self._broken and self._broken.sha == sha and not self._retry(self._broken, graph):
                return
            found = self._attempt(sha, profile, graph)
            # State first: an error while it is announced must not undo it.
            if isinstance(found, Broken):
                if not found.same_as(self._broken):
                    self._unannounced.append(found)
                self._broken = found
            else:
                if not known or self._broken:
                    self._unannounced.append(found)
                self._live, self._broken = found, None
            self._announce_news()
            if isinstance(found, Commit):
                self._keep_warm(found, profile)
                self._folders.prune(lambda: self._in_use() | {found.folder})

    def _profile(self) -> Profile:
        return Profile.of(self._settings, self._home)

    def _ready(self, sha: str, profile: Profile) -> Commit:
        is_published = sha == self.preparing
        return self._preparation.ready(sha, profile, self._live, is_published)

    def _attempt(self, sha: str, profile: Profile, graph: str) -> Commit | Broken:
        subject, author, _ = self.history.describe(sha)
        self._attempted = Attempt(sha, subject, author, time.time(), time.monotonic())
        try:
            return self._ready(sha, profile)
        except CommitBroken as error:
            return self._as_broken(sha, error, graph)
        except Exception as problem:  # whatever it is, `status` must show it
            log.exception("commit %s", sha[:7])
            failed = PreparationFailed(
                f"{sha[:7]} could not be made ready: {problem}",
                f"{AGAIN[:-1]}; runner.log has the whole of it.",
            )
            return self._as_broken(sha, failed, graph)
        finally:
            self._attempted = None

    def _announce_news(self) -> None:
        """Announces what is new; while the ledger is away, the next look tries again."""
        while self._unannounced:
            found = self._unannounced[0]
            try:
                self._announce(found)
            except LedgerUnreachable as error:
                log.warning("commit %s: %s", found.sha[:7], error)
                return
            except Exception:
                log.exception("commit %s is not announced", found.sha[:7])
            del self._unannounced[0]

    def _keep_warm(self, commit: Commit, profile: Profile) -> None:
        try:
            environment = dbt_environment(os.environ)
        except SettingError:
            return  # a secret cannot be read: each run reports it
        self._parser.keep(GraphKey.of_commit(commit.project, profile, environment), commit.parsed)

    def _as_broken(self, sha: str, error: CommitBroken, graph: str) -> Broken:
        subject, author, _ = self.history.describe(sha)
        before = self._broken
        again = before is not None and before.sha == sha
        since = before.since if before and again else time.time()
        self._pause = min(self._pause * 2, LONGEST_RETRY_SECONDS) if again else RETRY_SECONDS
        self._tried_at = time.monotonic()
        return Broken(sha, subject, author, error, since, graph)

    def _retry(self, broken: Broken, graph: str) -> bool:
        """Whether another attempt at a broken commit may succeed now."""
        if graph and broken.graph != graph:
            return True
        if isinstance(broken.error, ContentMissing):
            return self._preparation.submodules_are_here(broken.sha, broken.error.submodules)
        return broken.error.by_itself and time.monotonic() - self._tried_at > self._pause
