"""How a moment is said to people: the team's time, its zone, and the date where it is not plain.

Readers may be anywhere, and so may the machine: no time is said without its zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo


@dataclass(frozen=True)
class Clock:
    """The time of one zone, read beside another moment (mostly now)."""

    zone: tzinfo
    beside: datetime | None = None

    def say_with_zone(self, moment: datetime) -> str:
        """`08:04 KST`, or `2026-11-23 08:04 KST` when that is not the date of `beside`."""
        return f"{self._local(moment):{self._format(moment)} %Z}"

    def say_in_full(self, moment: datetime) -> str:
        """`2026-11-23 08:04:11 KST`, for a list or a log."""
        return f"{self._local(moment):%Y-%m-%d %H:%M:%S %Z}"

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def _format(self, moment: datetime) -> str:
        same = self.beside and self._local(self.beside).date() == self._local(moment).date()
        return "%H:%M" if same else "%Y-%m-%d %H:%M"
