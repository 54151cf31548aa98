"""Statements that end when their time is over, and the largest sample that fits in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg2
from psycopg2 import errorcodes

from mage_dbt.warehouse.refresh.postgres import sides
from mage_dbt.warehouse.session import Session

Answer = TypeVar("Answer")

FIRST_SAMPLE = 20_000
"""Keys of the first sample; so many are compared in about a second."""

SHARE = 0.4
"""Of the time left, what the next sample may take. The examples take about as long again."""


class NotCompared(Exception):
    """The server does not answer; the text says why."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class OutOfTime(NotCompared):
    """It does not answer in time."""


class Budget:
    """A time for all statements together. A transaction that runs them goes on when one fails."""

    def __init__(self, session: Session, seconds: float) -> None:
        self.session = session
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._until - time.monotonic())

    def rows(self, sql: str, share: float = 1) -> list[dict[str, Any]]:
        """A statement's rows. See `bounded`."""
        return self.bounded(lambda: self.session.rows(sql), share)

    def bounded(self, work: Callable[[], Answer], share: float = 1) -> Answer:
        """What `work` gives, in this share of the time left. A transaction must be open.

        Raises OutOfTime, or NotCompared where the server cannot do it.
        """
        seconds = max(0.001, share * self.left)
        ends = time.monotonic() + seconds
        self.session.execute("savepoint step")
        try:
            self.session.execute(f"set local statement_timeout = {math.ceil(1000 * seconds)}")
            found = work()
        except psycopg2.Error as error:
            # Somebody who cancels the statement causes the same code, but mostly earlier.
            late = error.pgcode == errorcodes.QUERY_CANCELED and time.monotonic() > ends - 0.01
            if not late and not sides.is_about_statement(error):
                raise
            self.session.execute("rollback to savepoint step")
            if late:
                raise OutOfTime(f"{self._seconds:g} s are too few") from error
            raise NotCompared(sides.reason(error), error.pgcode) from error
        self.session.execute("release savepoint step")
        return found

    def largest(self, sample: Callable[[int], Answer], rows: int) -> tuple[Answer, int]:
        """What `sample` finds in 1 of 2**n keys, and the smallest n that fits in the time.

        It is tried on few keys first. Raises NotCompared where not even these can be compared.
        """
        bits = max(0, math.ceil(math.log2(max(1, rows) / FIRST_SAMPLE)))
        taken: list[tuple[float, float]] = []
        best: tuple[Answer, int] | None = None
        while True:
            begun = time.monotonic()
            try:
                best = sample(bits), bits
            except NotCompared:
                if best is None:
                    raise
                return best
            taken.append((2.0**-bits, time.monotonic() - begun))
            fit = (n for n in range(bits) if expected(taken, 2.0**-n) <= SHARE * self.left)
            if (smaller := next(fit, None)) is None:
                return best
            bits = smaller


def expected(taken: Sequence[tuple[float, float]], share: float) -> float:
    """Seconds that this share of the keys takes, by what other shares have taken.

    A scan of both sides is the same for each share, and the rest grows with it. After one sample
    nobody knows how much of it was the scan, so all of it is taken to grow.
    """
    last_share, last = taken[-1]
    if len(taken) == 1:
        return last * share / last_share
    first_share, first = taken[-2]
    return last + max(0.0, last - first) / (last_share - first_share) * (share - last_share)
