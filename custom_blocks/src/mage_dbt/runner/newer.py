"""Whether a commit that is newer than the live one is on its way, and waiting for it.

Somebody who has just pushed a repair and asks for a rerun wants it with the repair. Until git-sync
has looked nobody here knows of the push, and until dbt has parsed it nothing can run on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mage_dbt.commits import Commits

MOST_SECONDS = 120.0
"""How long a request waits for a newer commit at most."""

LONGEST_POLL = 30.0
"""Seconds between two looks of git-sync beyond which the next one is not waited for."""

BEYOND_SECONDS = 5.0
"""How long git-sync's look may take beyond the time at which it is due."""

LOOK_SECONDS = 0.1

WAITING_AT_ONCE = 16
"""Requests that wait at the same moment: each holds one of the API's 40 threads. More of them go on
at once."""


class NewerCommit:
    """Looks at what git-sync has published and at what is being parsed."""

    def __init__(
        self, commits: Commits, sync_status: Path, poll_seconds: float, stopped: threading.Event
    ) -> None:
        """`sync_status` is what our git-sync writes after each look; another one has no such file,
        and is not waited for."""
        self._commits = commits
        self._sync_status = sync_status
        self._look_seconds = poll_seconds + BEYOND_SECONDS if poll_seconds <= LONGEST_POLL else 0.0
        self._stopped = stopped
        self._places = threading.Semaphore(WAITING_AT_ONCE)

    def on_its_way(self) -> str:
        """The SHA of a newer commit that is being made ready; empty when there is none."""
        live, broken = self._commits.live, self._commits.broken
        sha = self._commits.preparing or self._commits.published() or ""
        if live is None or sha == live.sha or (broken and broken.sha == sha):
            return ""
        return sha

    def notice(self) -> str:
        """For a run that does not wait: which commit it uses, and which one is on its way."""
        sha, live = self.on_its_way(), self._commits.live
        if not sha or live is None:
            return ""
        return (
            f"{self._named(sha)} is newer and is being made ready; this run uses {live.sha[:7]} "
            f'"{live.subject}". With `wait_for_commit` (--wait-for-commit) a run waits for it.'
        )

    def wait(self) -> str:
        """Waits for git-sync's next look and for what that brings; says what came of it.

        Nothing is said when nothing newer came.
        """
        if not self._places.acquire(blocking=False):
            return ""
        try:
            return self._wait()
        finally:
            self._places.release()

    def _wait(self) -> str:
        begun = time.monotonic()
        before = self._sync_looked_at()
        if before:
            self._until(lambda: self._sync_looked_at() != before, self._look_seconds)
        sha = self.on_its_way()
        if not sha:
            return ""
        self._until(lambda: not self.on_its_way(), begun + MOST_SECONDS - time.monotonic())
        seconds = f"{time.monotonic() - begun:.0f} s"
        live = self._commits.live
        if live is not None and not self.on_its_way() and self._commits.broken is None:
            return f"Waited {seconds} for {self._named(live.sha)}, which was being made ready."
        return f"Waited {seconds} for {self._named(sha)}, which is not ready."

    def _until(self, right: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not right() and time.monotonic() < deadline:
            if self._stopped.wait(LOOK_SECONDS):
                return

    def _sync_looked_at(self) -> int:
        """0 where git-sync is another one, or has not looked yet."""
        try:
            return self._sync_status.stat().st_mtime_ns
        except OSError:
            return 0

    def _named(self, sha: str) -> str:
        subject = self._commits.subject(sha)
        return f'{sha[:7]} "{subject}"' if subject else sha[:7]
