"""How a moment is said to people: the local time, and the date where it is not plain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo


@dataclass(frozen=True)
class Clock:
    """The time of one zone, read beside another moment (mostly now)."""

    zone: tzinfo
    beside: datetime | None = None

    def say(self, moment: datetime) -> str:
        """`08:04`, or `2026-11-23 08:04` when that is not the date of `beside`."""
        return f"{self._local(moment):{self._format(moment)}}"

    def say_with_zone(self, moment: datetime) -> str:
        """`08:04 KST`, for somebody who may be anywhere."""
        return f"{self._local(moment):{self._format(moment)} %Z}"

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def _format(self, moment: datetime) -> str:
        same = self.beside and self._local(self.beside).date() == self._local(moment).date()
        return "%H:%M" if same else "%Y-%m-%d %H:%M"
