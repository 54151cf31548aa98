"""Tells whether a commit newer than the live one is on its way, and waits for it.

A person who has just pushed a repair and asks for a rerun wants it with the repair. The push is
unknown here until git-sync's next poll, and nothing can run on it until dbt has parsed it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mage_dbt.commits.store import Commits

MOST_SECONDS = 120.0
"""The longest that a request waits for a newer commit."""

LONGEST_POLL = 30.0
"""git-sync's poll interval in seconds above which its next poll is not waited for."""

BEYOND_SECONDS = 5.0
"""How long git-sync's poll may take."""

POLL_SECONDS = 0.1
"""Between two polls of what is awaited."""

WAITING_AT_ONCE = 16
"""Requests that wait at the same moment, because each uses one of the API's 40 threads. Further
requests go on at once."""


class NewerCommit:
    """Reads what git-sync has published and what is being parsed."""

    def __init__(
        self, commits: Commits, sync_status: Path, poll_seconds: float, stopped: threading.Event
    ) -> None:
        """`sync_status` is the file that our git-sync writes after each poll; another git-sync has
        no such file, and is not waited for."""
        self._commits = commits
        self._sync_status = sync_status
        self._sync_seconds = (
            # What is left of a poll that is under way, the pause after it, and a whole poll.
            poll_seconds + 2 * BEYOND_SECONDS if poll_seconds <= LONGEST_POLL else 0.0
        )
        self._stopped = stopped
        self._waiting = threading.Semaphore(WAITING_AT_ONCE)

    def on_its_way(self) -> str:
        """The SHA of a newer commit that is being made ready; empty when there is none."""
        live, broken = self._commits.live, self._commits.broken
        sha = self._commits.preparing or self._commits.published() or ""
        if live is None or sha == live.sha or (broken and broken.sha == sha):
            return ""
        return sha

    def notice(self) -> str:
        """For a run that does not wait: which commit it uses, and which is on its way."""
        sha, live = self.on_its_way(), self._commits.live
        if not sha or live is None:
            return ""
        return (
            f"{self._named(sha)} is newer and is being made ready; this run uses {live.sha[:7]} "
            f'"{live.subject}". With `wait_for_commit` (--wait-for-commit) a run waits for it.'
        )

    def wait(self) -> str:
        """Waits for a poll of git-sync that begins from now on, and for the commit it brings.

        Returns a sentence on the outcome; empty when no newer commit came.
        """
        if not self._waiting.acquire(blocking=False):
            return ""
        try:
            return self._wait()
        finally:
            self._waiting.release()

    def _wait(self) -> str:
        begun, now = time.monotonic(), time.time()
        if self._sync_asked_at():
            # Not just the next outcome: a poll that is under way may have asked before the push.
            self._until(lambda: self._sync_asked_at() >= now, self._sync_seconds)
        sha = self.on_its_way()
        if not sha:
            return ""
        self._until(lambda: not self.on_its_way(), begun + MOST_SECONDS - time.monotonic())
        seconds = f"{time.monotonic() - begun:.0f} s"
        live = self._commits.live
        if live is not None and not self.on_its_way() and self._commits.broken is None:
            return f"Waited {seconds} for {self._named(live.sha)}, which was being made ready."
        return f"Waited {seconds} for {self._named(sha)}, which is not ready."

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            if self._stopped.wait(POLL_SECONDS):
                return

    def _sync_asked_at(self) -> float:
        """When git-sync's last poll began; 0 for another git-sync, and before its first poll."""
        try:
            return float(json.loads(self._sync_status.read_text())["asked_at"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    def _named(self, sha: str) -> str:
        subject = self._commits.subject(sha)
        return f'{sha[:7]} "{subject}"' if subject else sha[:7]
