"""Windows of event time: which a microbatch model has filled, and which it failed to fill. Pure.

dbt builds a microbatch model batch by batch, so a model that has run may still have gaps. Windows
that touch become one; dbt cuts a window into batches again when it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mage_dbt.errors import RequestError

DAY = timedelta(days=1)

FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")
"""The formats of a time in dbt's `--event-time-start` and `--event-time-end`."""

START_FLAG = "--event-time-start"
END_FLAG = "--event-time-end"


@dataclass(frozen=True, order=True)
class Window:
    """From `start` on and before `end`, in UTC as dbt counts event times."""

    start: datetime
    end: datetime

    @classmethod
    def from_json(cls, data: Sequence[str]) -> Window:
        start, end = (datetime.fromisoformat(moment) for moment in data)
        return cls(start, end)

    @classmethod
    def asked(cls, start: str, end: str, names: tuple[str, str]) -> Window:
        """The window of a request; `names` are those of the two fields or flags.

        Raises RequestError, naming the one that is wrong.
        """
        for name, value, other in zip(names, (start, end), reversed(names), strict=True):
            if not value:
                raise RequestError(
                    f"`{other}` is given and `{name}` is not.", "A window has a start and an end."
                )
        window = cls(_time(start, names[0]), _time(end, names[1]))
        if window.start >= window.end:
            raise RequestError(
                f"`{names[0]}` {start} is not before `{names[1]}` {end}.",
                "The start belongs to the window, the end does not.",
            )
        return window

    def to_json(self) -> list[str]:
        return [self.start.isoformat(), self.end.isoformat()]

    def flags(self) -> tuple[str, ...]:
        """The window as dbt's flags."""
        start, end = (f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (self.start, self.end))
        return START_FLAG, start, END_FLAG, end

    def __str__(self) -> str:
        """`2026-11-28 16:00 to 18:00`; only the dates for whole days."""
        days = self.start.time() == self.end.time() == datetime.min.time()
        if days:
            last = self.end - DAY
            same = last.date() == self.start.date()
            return f"{self.start:%Y-%m-%d}" + ("" if same else f" to {last:%Y-%m-%d}")
        same = self.start.date() == self.end.date()
        end = f"{self.end:%H:%M}" if same else f"{self.end:%Y-%m-%d %H:%M}"
        return f"{self.start:%Y-%m-%d %H:%M} to {end}"


@dataclass(frozen=True)
class Filled:
    """The windows of a model that one run filled, and those that it failed to fill."""

    filled: tuple[Window, ...] = ()
    failed: tuple[Window, ...] = ()
    cut_off: bool = False
    """Whether it was stopped before it reported what it filled; then all counts as failed."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Filled:
        return cls(
            tuple(Window.from_json(window) for window in data["filled"]),
            tuple(Window.from_json(window) for window in data["failed"]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "filled": [window.to_json() for window in self.filled],
            "failed": [window.to_json() for window in self.failed],
        }


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same event time in the fewest windows, in order."""
    found: list[Window] = []
    for window in sorted(windows):
        if found and window.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, window.end))
        else:
            found.append(window)
    return tuple(found)


def without(windows: Iterable[Window], taken: Iterable[Window]) -> tuple[Window, ...]:
    """The event time of `windows` that is in none of `taken`."""
    left = list(merged(windows))
    for away in taken:
        left = [
            part
            for window in left
            for part in (
                Window(window.start, min(window.end, away.start)),
                Window(max(window.start, away.end), window.end),
            )
            if part.start < part.end
        ]
    return merged(left)


def gaps(results: Iterable[Filled]) -> tuple[Window, ...]:
    """The windows that failed and that no later result filled; `results` are oldest first."""
    left: tuple[Window, ...] = ()
    for result in results:
        left = merged((*without(left, result.filled), *result.failed))
    return left


def _time(text: str, name: str) -> datetime:
    for form in FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise RequestError(
        f"`{name}` {text!r} is no time.",
        "Write 2026-01-31 or 2026-01-31T08:00:00; it is read as UTC.",
    )
