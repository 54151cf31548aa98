"""Delivery: retried with pauses, given up in the end, and never waited for."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mage_dbt.alerts.channels import ChannelFile
from mage_dbt.alerts.delivery import CHANNEL_REMOVED, Deliveries, RetryPolicy
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.ledger.alerts import Alert
from mage_dbt.model.alert import Kind, Message
from tests.harness.services import hanging_service, service
from tests.harness.waiting import SECONDS, wait_until

PATIENT = RetryPolicy(
    attempt_seconds=10 * SECONDS, pauses=(0.05, 0.2), total_seconds=10 * SECONDS, most_hanging=2
)
"""Tries often, and gives up neither an attempt nor a delivery while a test waits."""

BRIEF = replace(PATIENT, total_seconds=3.0)

HASTY = replace(BRIEF, attempt_seconds=0.5)


class StubLedger:
    """Stands for the ledger: keeps the attempts, or is away."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.away = False

    def add_attempt(
        self, alert: str, channel: str, label: str, outcome: str, detail: str, s: float
    ) -> None:
        if self.away:
            raise LedgerUnreachable("away")
        self.rows.append((label, outcome, detail))

    def pending(self) -> list[Any]:
        return []


class Sending:
    """Deliveries and their channels, polled by hand."""

    def __init__(self, tmp_path: Path, *addresses: str, policy: RetryPolicy = PATIENT) -> None:
        file = tmp_path / "alert-urls"
        file.write_text("\n".join(addresses))
        self.file = ChannelFile(file, "key")
        self.channels = self.file.read().by_digest
        self.ledger = StubLedger()
        self.deliveries = Deliveries(self.ledger, policy)  # type: ignore[arg-type]
        self.alert = Alert(
            "failure:x",
            datetime.now(UTC),
            Message(Kind.FAILURE, "It failed", "Failed: x"),
            channels=tuple(self.channels),
        )

    def until(self, outcome: str, label: str) -> None:
        def probe() -> bool | str:
            self.deliveries.poll(self.file.read().by_digest)
            rows = [row for row in self.ledger.rows if row[0] == label]
            return any(row[1] == outcome for row in rows) or str(self.ledger.rows)

        wait_until(f"{label} to be {outcome}", probe)


def test_a_service_that_is_back_gets_its_message_once(tmp_path: Path) -> None:
    with service(500) as flaky:
        sending = Sending(tmp_path, flaky.address())
        sending.deliveries.add(sending.alert)
        sending.until("failed", "line 1, JSON")
        flaky.status = 200
        sending.until("delivered", "line 1, JSON")
        taken = len(flaky.received)
        for _ in range(5):
            sending.deliveries.poll(sending.file.read().by_digest)
        assert len(flaky.received) == taken
    assert sending.ledger.rows[-1] == ("line 1, JSON", "delivered", "")
    assert sending.deliveries.problems() == []


def test_in_the_end_it_is_recorded_as_not_delivered(tmp_path: Path) -> None:
    with service(500) as bad:
        sending = Sending(tmp_path, bad.address(), policy=BRIEF)
        sending.deliveries.add(sending.alert)
        sending.until("not delivered", "line 1, JSON")
    attempts = [row for row in sending.ledger.rows if row[1] == "failed"]
    assert 2 <= len(attempts) <= 20
    assert sending.ledger.rows[-1][2] == "it answered 500"


def test_a_service_that_hangs_delays_no_other_and_no_poll(tmp_path: Path) -> None:
    with hanging_service() as hanging, service() as good:
        sending = Sending(tmp_path, hanging, good.address())
        sending.deliveries.add(sending.alert)
        # A poll that waited for the first would not come back before the test is given up.
        sending.until("delivered", "line 2, JSON")
        assert [label for label, _, _ in sending.ledger.rows] == ["line 2, JSON"]


def test_a_service_that_hangs_is_given_up_and_keeps_few_threads(tmp_path: Path) -> None:
    with hanging_service() as hanging:
        sending = Sending(tmp_path, hanging, policy=HASTY)
        sending.deliveries.add(sending.alert)
        sending.until("not delivered", "line 1, JSON")
        left = [one for one in threading.enumerate() if one.name.startswith("alert line 1")]
        assert len(left) <= HASTY.most_hanging and all(one.daemon for one in left)
    assert ("line 1, JSON", "failed", "no answer within 0 s") in sending.ledger.rows


def test_a_line_taken_out_of_the_file_ends_its_messages(tmp_path: Path) -> None:
    with service(500) as bad, service() as good:
        sending = Sending(tmp_path, bad.address(), good.address())
        sending.deliveries.add(sending.alert)
        sending.until("failed", "line 1, JSON")
        sending.file.path.write_text(good.address())
        sending.until("not delivered", "line 1, JSON")
    assert ("line 1, JSON", "not delivered", CHANNEL_REMOVED) in sending.ledger.rows


def test_while_the_ledger_is_away_nothing_is_sent_twice(tmp_path: Path) -> None:
    with service() as good:
        sending = Sending(tmp_path, good.address())
        sending.deliveries.add(sending.alert)
        sending.deliveries.poll(sending.channels)
        sending.ledger.away = True
        wait_until("the message", lambda: bool(good.received) or "none")
        for _ in range(20):
            with suppress(LedgerUnreachable):
                sending.deliveries.poll(sending.channels)
        sending.ledger.away = False
        sending.until("delivered", "line 1, JSON")
        assert len(good.received) == 1


def test_what_is_too_old_when_it_is_resumed_is_not_sent(tmp_path: Path) -> None:
    with service() as good:
        sending = Sending(tmp_path, good.address())
        old = datetime.now(UTC) - timedelta(days=1)
        sending.deliveries.add(
            Alert("failure:y", old, sending.alert.message, channels=sending.alert.channels)
        )
        sending.until("not delivered", "line 1, JSON")
        assert good.received == []


def test_pauses_grow_and_stay_at_the_longest() -> None:
    policy = RetryPolicy()
    pauses = [policy.pause(attempts) for attempts in range(1, 10)]
    assert pauses == sorted(pauses) and pauses[-1] == policy.pauses[-1]
