"""Whoever has just pushed and asks for a rerun gets that commit, whatever git-sync was about."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.runner.newer import NewerCommit

OLD, NEW = "a" * 40, "b" * 40


@dataclass
class Live:
    sha: str


class StubCommits:
    """Stands for the commits: `NEW` is published, made ready and live when a test says so."""

    broken = None
    preparing = ""

    def __init__(self) -> None:
        self.live, self.link = Live(OLD), OLD

    def published(self) -> str:
        return self.link

    def subject(self, sha: str) -> str:
        return {OLD: "Old", NEW: "New"}[sha]


class Meanwhile(threading.Event):
    """Is never set; each wait for it is one of the things that happen meanwhile."""

    def __init__(self, *things: Callable[[], object]) -> None:
        super().__init__()
        self.left = [*things]

    def wait(self, timeout: float | None = None) -> bool:
        self.left.pop(0)()
        return False


def test_a_poll_that_began_before_the_push_is_not_the_one_that_is_waited_for(
    tmp_path: Path,
) -> None:
    status, commits = tmp_path / "status.json", StubCommits()

    def polled(asked_at: float) -> None:
        status.write_text(json.dumps({"asked_at": asked_at}))

    def published() -> None:
        commits.link = NEW
        polled(time.time())

    before = time.time() - 1
    meanwhile = Meanwhile(
        lambda: polled(before + 0.5),  # it was under way, and had asked already
        published,
        lambda: setattr(commits, "live", Live(NEW)),
    )
    newer = NewerCommit(commits, status, 1, meanwhile)  # type: ignore[arg-type]
    polled(before)
    waited = newer.wait()
    assert waited.endswith(f'for {NEW[:7]} "New", which was being made ready.'), waited
    assert meanwhile.left == []


def test_another_git_sync_is_not_waited_for(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    newer = NewerCommit(StubCommits(), status, 1, Meanwhile())  # type: ignore[arg-type]
    assert newer.wait() == ""
    status.write_text("{}")  # of an earlier version
    assert newer.wait() == ""
