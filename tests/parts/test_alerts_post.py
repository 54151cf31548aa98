"""Sending: tried again with pauses, given up in the end, and never waited for."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mage_dbt.alerts.channels import Channels
from mage_dbt.alerts.message import Kind, Message
from mage_dbt.alerts.post import TAKEN_OUT, Patience, Post
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.ledger.alerts import Alert
from tests.harness.services import hanging_service, service
from tests.harness.waiting import wait_until

QUICK = Patience(one_try=0.5, pauses=(0.05, 0.2), altogether=3.0, most_hanging=2)


class Book:
    """Stands for the ledger: what the post writes down, or a PostgreSQL that is away."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.away = False

    def tried(
        self, alert: str, channel: str, label: str, outcome: str, detail: str, s: float
    ) -> None:
        if self.away:
            raise LedgerUnreachable("away")
        self.rows.append((label, outcome, detail))

    def pending(self) -> list[Any]:
        return []


class Sending:
    """A post with its channels, turned by hand."""

    def __init__(self, tmp_path: Path, *addresses: str) -> None:
        file = tmp_path / "alert-urls"
        file.write_text("\n".join(addresses))
        self.channels = Channels(file, "key")
        self.found = self.channels.look()
        self.book = Book()
        self.post = Post(self.book, QUICK)  # type: ignore[arg-type]
        self.alert = Alert(
            "failure:x",
            datetime.now(UTC),
            Message(Kind.FAILURE, "It failed", "Failed: x"),
            channels=tuple(self.found.channels),
        )

    def until(self, outcome: str, label: str) -> None:
        def probe() -> bool | str:
            self.post.look(self.channels.look().channels)
            rows = [row for row in self.book.rows if row[0] == label]
            return any(row[1] == outcome for row in rows) or str(self.book.rows)

        wait_until(f"{label} to be {outcome}", probe, 20)


def test_a_service_that_is_back_gets_its_message_once(tmp_path: Path) -> None:
    with service(500) as flaky:
        sending = Sending(tmp_path, flaky.address())
        sending.post.add(sending.alert)
        sending.until("failed", "line 1, JSON")
        flaky.status = 200
        sending.until("delivered", "line 1, JSON")
        taken = len(flaky.received)
        for _ in range(5):
            sending.post.look(sending.channels.look().channels)
        assert len(flaky.received) == taken
    assert sending.book.rows[-1] == ("line 1, JSON", "delivered", "")
    assert sending.post.problems() == []


def test_in_the_end_it_is_written_down_as_not_delivered(tmp_path: Path) -> None:
    with service(500) as bad:
        sending = Sending(tmp_path, bad.address())
        sending.post.add(sending.alert)
        sending.until("not delivered", "line 1, JSON")
    tries = [row for row in sending.book.rows if row[1] == "failed"]
    assert 3 <= len(tries) <= 20
    assert sending.book.rows[-1][2] == "it answered 500"


def test_a_service_that_hangs_delays_no_other_and_no_look(tmp_path: Path) -> None:
    with hanging_service() as hanging, service() as good:
        sending = Sending(tmp_path, hanging, good.address())
        sending.post.add(sending.alert)
        begun = time.monotonic()
        sending.post.look(sending.found.channels)
        assert time.monotonic() - begun < 0.4
        sending.until("delivered", "line 2, JSON")
        sending.until("not delivered", "line 1, JSON")
        left = [one for one in threading.enumerate() if one.name.startswith("alert line 1")]
        assert len(left) <= QUICK.most_hanging and all(one.daemon for one in left)
    assert ("line 1, JSON", "failed", "no answer within 0 s") in sending.book.rows


def test_a_line_taken_out_of_the_file_ends_its_messages(tmp_path: Path) -> None:
    with service(500) as bad, service() as good:
        sending = Sending(tmp_path, bad.address(), good.address())
        sending.post.add(sending.alert)
        sending.until("failed", "line 1, JSON")
        sending.channels.file.write_text(good.address())
        sending.until("not delivered", "line 1, JSON")
    assert ("line 1, JSON", "not delivered", TAKEN_OUT) in sending.book.rows


def test_while_the_ledger_is_away_nothing_is_sent_twice(tmp_path: Path) -> None:
    with service() as good:
        sending = Sending(tmp_path, good.address())
        sending.post.add(sending.alert)
        sending.post.look(sending.found.channels)
        sending.book.away = True
        wait_until("the message", lambda: bool(good.received) or "none", 10)
        for _ in range(20):
            with suppress(LedgerUnreachable):
                sending.post.look(sending.found.channels)
        sending.book.away = False
        sending.until("delivered", "line 1, JSON")
        assert len(good.received) == 1


def test_what_is_too_old_when_it_is_taken_up_is_not_sent(tmp_path: Path) -> None:
    with service() as good:
        sending = Sending(tmp_path, good.address())
        old = datetime.now(UTC) - timedelta(days=1)
        sending.post.add(
            Alert("failure:y", old, sending.alert.message, channels=sending.alert.channels)
        )
        sending.until("not delivered", "line 1, JSON")
        assert good.received == []


def test_pauses_grow_and_stay_at_the_longest() -> None:
    patience = Patience()
    pauses = [patience.pause(tries) for tries in range(1, 10)]
    assert pauses == sorted(pauses) and pauses[-1] == patience.pauses[-1]
