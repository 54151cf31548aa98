"""Sending: each channel in threads of its own, tried again with growing pauses, never waited for.

A try has a time limit. A thread cannot be ended, so one that hangs beyond it is left behind, and
the try counts as failed; if it gets through after all, that is noted and nothing is sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mage_dbt.alerts.channels import Channel
from mage_dbt.alerts.message import Message
from mage_dbt.ledger.alerts import Alert, AlertBook

log = logging.getLogger(__name__)

TAKEN_OUT = "its line is no longer in the file"


@dataclass(frozen=True)
class Patience:
    """How long and how often a message is tried, in seconds; docs/alerts.md says the same."""

    one_try: float = 30.0
    pauses: tuple[float, ...] = (5.0, 15.0, 60.0, 120.0, 300.0, 600.0)
    """Between tries; the last one again and again."""
    altogether: float = 7200.0
    most_hanging: int = 5
    """Tries left behind on one channel; while so many hang, no other is begun."""

    def pause(self, tries: int) -> float:
        """After so many tries."""
        return self.pauses[min(tries, len(self.pauses)) - 1]


class _Try(threading.Thread):
    """One message on its way to one channel."""

    def __init__(self, channel: Channel, message: Message) -> None:
        super().__init__(name=f"alert {channel.label}", daemon=True)
        self.channel = channel
        self.begun = time.monotonic()
        self.seconds = 0.0
        self.over = threading.Event()
        self.left_behind = False
        self.problem = ""
        self._message = message

    def run(self) -> None:
        try:
            self.problem = self.channel.send(self._message)
        except Exception as error:  # its words may hold the address; its kind does not
            self.problem = f"sending failed ({type(error).__name__})"
        self.seconds = time.monotonic() - self.begun
        self.over.set()


@dataclass
class _Delivery:
    """One alert that is to reach one channel."""

    alert: Alert
    digest: str
    tries: int = 0
    next_at: float = 0.0
    """Of the monotonic clock."""
    problem: str = ""
    at_work: list[_Try] = field(default_factory=list)


class Post:
    """What is on its way. Every method is for one thread, and none waits for a service."""

    def __init__(self, book: AlertBook, patience: Patience | None = None) -> None:
        self._book = book
        self._patience = patience or Patience()
        self._under_way: list[_Delivery] = []
        self._tries: list[_Try] = []
        """Those that are not over, left behind or not, whatever became of their delivery."""
        self._labels: dict[str, str] = {}

    def resume(self) -> None:
        """Takes up what the ledger has and nobody carries: an earlier runner left it."""
        carried = {(one.alert.key, one.digest) for one in self._under_way}
        self._under_way += [
            _Delivery(alert, digest)
            for alert, digest in self._book.pending()
            if (alert.key, digest) not in carried
        ]

    def add(self, alert: Alert) -> None:
        """Sends an alert that the ledger has."""
        self._under_way += [_Delivery(alert, digest) for digest in alert.channels]

    def problems(self) -> list[str]:
        """What has not got through yet and why, a line each."""
        return [
            f"{self._label(one)}: {one.problem}, {one.tries} tries: {one.alert.message.title}"
            for one in self._under_way
            if one.problem
        ]

    def look(self, channels: Mapping[str, Channel]) -> None:
        """Notes what has come back, and begins what is due. Raises LedgerUnreachable; nothing is
        lost then, and nothing sent twice."""
        self._labels |= {digest: one.label for digest, one in channels.items()}
        for one in list(self._under_way):
            if self._settle(one, channels):
                self._under_way.remove(one)
        self._tries = [one for one in self._tries if not one.over.is_set()]
        # Who has waited longest goes first, or what is tried again and again starves the others.
        for one in sorted(self._under_way, key=lambda one: one.next_at):
            there = [a_try for a_try in self._tries if a_try.channel.digest == one.digest]
            busy = any(not a_try.left_behind for a_try in there)
            if busy or time.monotonic() < one.next_at or one.digest not in channels:
                continue
            if len(there) >= self._patience.most_hanging:
                continue
            a_try = _Try(channels[one.digest], one.alert.message)
            one.at_work.append(a_try)
            self._tries.append(a_try)
            a_try.start()

    def _settle(self, one: _Delivery, channels: Mapping[str, Channel]) -> bool:
        """Whether this delivery has come to its end."""
        for a_try in list(one.at_work):
            if a_try.over.is_set():
                if not a_try.problem:
                    self._note(one, "delivered", "", a_try.seconds)
                    log.info("alert %s: delivered (%s)", one.alert.key, self._label(one))
                    return True
                if not a_try.left_behind:
                    self._failed(one, a_try, a_try.problem, a_try.seconds)
                one.at_work.remove(a_try)
            elif not a_try.left_behind:
                waited = time.monotonic() - a_try.begun
                if waited > self._patience.one_try:
                    problem = f"no answer within {self._patience.one_try:.0f} s"
                    self._failed(one, a_try, problem, waited)
                    a_try.left_behind = True
        if any(not a_try.left_behind for a_try in one.at_work):
            return False
        age = (datetime.now(UTC) - one.alert.at).total_seconds()
        if one.digest not in channels or age > self._patience.altogether:
            reason = one.problem or "it was not tried in time"
            reason = reason if one.digest in channels else TAKEN_OUT
            self._note(one, "not delivered", reason, 0.0)
            log.error("alert %s: not delivered (%s): %s", one.alert.key, self._label(one), reason)
            return True
        return False

    def _failed(self, one: _Delivery, a_try: _Try, problem: str, seconds: float) -> None:
        self._note(one, "failed", problem, seconds)
        one.tries += 1
        one.problem = problem
        one.next_at = time.monotonic() + self._patience.pause(one.tries)
        log.warning("alert %s: %s: %s", one.alert.key, self._label(one), problem)

    def _note(self, one: _Delivery, outcome: str, detail: str, seconds: float) -> None:
        self._book.tried(one.alert.key, one.digest, self._label(one), outcome, detail, seconds)

    def _label(self, one: _Delivery) -> str:
        return self._labels.get(one.digest, "a channel of an earlier file")
