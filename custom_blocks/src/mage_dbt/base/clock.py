"""How a time is written for people: in the team's zone, with the date where it is needed.

Readers may be anywhere, and so may the machine: every time names its zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo


@dataclass(frozen=True)
class Clock:
    """Writes times of one zone."""

    zone: tzinfo
    beside: datetime | None = None
    """A time on the same date as this one (mostly now) is written without its date."""

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
