"""Delivery of alerts: threads for each channel, retries with growing pauses, and no waiting.

An attempt has a time limit. A thread cannot be ended, so an attempt that hangs beyond its limit is
abandoned and counts as failed. If it gets through after all, the delivery ends and sends nothing
again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mage_dbt.alerts.channels import ATTEMPT_SECONDS, Channel
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.model.alert import DeliveryState, Message

log = logging.getLogger(__name__)

CHANNEL_REMOVED = "its line is no longer in the file"


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a delivery is attempted, in seconds; docs/alerts.md says the same."""

    attempt_seconds: float = ATTEMPT_SECONDS
    pauses: tuple[float, ...] = (5.0, 15.0, 60.0, 120.0, 300.0, 600.0)
    """Between attempts. The last one repeats."""
    total_seconds: float = 7200.0
    most_hanging: int = 5
    """Abandoned attempts on one channel. While so many hang, no other attempt begins."""

    def pause(self, attempts: int) -> float:
        """The pause after so many attempts."""
        return self.pauses[min(attempts, len(self.pauses)) - 1]


class _Attempt(threading.Thread):
    """One attempt to send a message to a channel."""

    def __init__(self, channel: Channel, message: Message) -> None:
        super().__init__(name=f"alert {channel.label}", daemon=True)
        self.channel = channel
        self.begun = time.monotonic()
        self.seconds = 0.0
        self.over = threading.Event()
        self.abandoned = False
        self.problem = ""
        self._message = message

    def run(self) -> None:
        try:
            self.problem = self.channel.send(self._message)
        except Exception as error:  # its text may hold the address; its type does not
            self.problem = f"sending failed ({type(error).__name__})"
        self.seconds = time.monotonic() - self.begun
        self.over.set()


@dataclass
class _Delivery:
    """One alert on its way to one channel, which `digest` names."""

    alert: Alert
    digest: str
    failed: int = 0
    """Attempts that failed."""
    next_at: float = 0.0
    """When the next attempt may begin, on the monotonic clock."""
    problem: str = ""
    attempts: list[_Attempt] = field(default_factory=list)
    """Attempts that are not over."""


class Deliveries:
    """The deliveries that have no end yet, for one thread. No method waits for a service."""

    def __init__(self, ledger: AlertLedger, policy: RetryPolicy | None = None) -> None:
        self._ledger = ledger
        self._policy = policy or RetryPolicy()
        self._open: list[_Delivery] = []
        self._attempts: list[_Attempt] = []
        """Attempts that are not over, also of deliveries that have ended."""
        self._labels: dict[str, str] = {}

    def resume(self) -> None:
        """Continues the deliveries in the ledger that an earlier runner left."""
        open_ones = {(delivery.alert.key, delivery.digest) for delivery in self._open}
        self._open += [
            _Delivery(alert, digest)
            for alert, digest in self._ledger.pending()
            if (alert.key, digest) not in open_ones
        ]

    def add(self, alert: Alert) -> None:
        """Begins the deliveries of an alert that is in the ledger."""
        self._open += [_Delivery(alert, digest) for digest in alert.channels]

    def problems(self) -> list[str]:
        """A line for each delivery that has failed so far: channel, reason and title."""
        return [
            f"{self._label(delivery)}: {delivery.problem}, {delivery.failed} tries: "
            f"{delivery.alert.message.title}"
            for delivery in self._open
            if delivery.problem
        ]

    def poll(self, channels: Mapping[str, Channel]) -> None:
        """Records attempts that are over, and begins those that are due.

        Raises LedgerUnreachable. Nothing is lost then, and nothing is sent twice.
        """
        self._labels |= {digest: channel.label for digest, channel in channels.items()}
        for delivery in list(self._open):
            if self._has_ended(delivery, channels):
                self._open.remove(delivery)  # at once: the ledger may be away for the next one
        self._attempts = [attempt for attempt in self._attempts if not attempt.over.is_set()]
        # The longest wait comes first: otherwise retries of one delivery would starve the others.
        for delivery in sorted(self._open, key=lambda delivery: delivery.next_at):
            digest = delivery.digest
            running = [attempt for attempt in self._attempts if attempt.channel.digest == digest]
            busy = any(not attempt.abandoned for attempt in running)
            if busy or time.monotonic() < delivery.next_at or digest not in channels:
                continue
            if len(running) >= self._policy.most_hanging:
                continue
            attempt = _Attempt(channels[digest], delivery.alert.message)
            delivery.attempts.append(attempt)
            self._attempts.append(attempt)
            attempt.start()

    def _has_ended(self, delivery: _Delivery, channels: Mapping[str, Channel]) -> bool:
        """Records what became of a delivery's attempts; True when the delivery has ended."""
        for attempt in list(delivery.attempts):
            if attempt.over.is_set():
                if not attempt.problem:
                    self._record(delivery, DeliveryState.DELIVERED, "", attempt.seconds)
                    label = self._label(delivery)
                    log.info("alert %s: delivered (%s)", delivery.alert.key, label)
                    return True
                if not attempt.abandoned:
                    self._record_failure(delivery, attempt.problem, attempt.seconds)
                delivery.attempts.remove(attempt)
            elif not attempt.abandoned:
                seconds = time.monotonic() - attempt.begun
                if seconds > self._policy.attempt_seconds:
                    problem = f"no answer within {self._policy.attempt_seconds:.0f} s"
                    self._record_failure(delivery, problem, seconds)
                    attempt.abandoned = True
        if any(not attempt.abandoned for attempt in delivery.attempts):
            return False
        age = (datetime.now(UTC) - delivery.alert.at).total_seconds()
        if delivery.digest in channels and age <= self._policy.total_seconds:
            return False
        reason = delivery.problem or "it was not tried in time"
        reason = reason if delivery.digest in channels else CHANNEL_REMOVED
        self._record(delivery, DeliveryState.NOT_DELIVERED, reason, 0.0)
        label = self._label(delivery)
        log.error("alert %s: not delivered (%s): %s", delivery.alert.key, label, reason)
        return True

    def _record_failure(self, delivery: _Delivery, problem: str, seconds: float) -> None:
        self._record(delivery, DeliveryState.FAILED, problem, seconds)
        delivery.failed += 1
        delivery.problem = problem
        delivery.next_at = time.monotonic() + self._policy.pause(delivery.failed)
        log.warning("alert %s: %s: %s", delivery.alert.key, self._label(delivery), problem)

    def _record(
        self, delivery: _Delivery, outcome: DeliveryState, detail: str, seconds: float
    ) -> None:
        key, label = delivery.alert.key, self._label(delivery)
        self._ledger.add_attempt(key, delivery.digest, label, outcome, detail, seconds)

    def _label(self, delivery: _Delivery) -> str:
        return self._labels.get(delivery.digest, "a channel of an earlier file")
