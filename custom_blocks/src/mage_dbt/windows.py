"""Windows of event time: what a microbatch model has filled, and what it failed to fill. Pure.

dbt builds a microbatch model batch by batch, so a model that has run may still have gaps. Windows
that touch are one window; dbt cuts a window into batches again when it is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mage_dbt.errors import RequestError

DAY = timedelta(days=1)

FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")
"""Of a time in dbt's `--event-time-start` and `--event-time-end`."""

START_FLAG = "--event-time-start"
END_FLAG = "--event-time-end"


@dataclass(frozen=True, order=True)
class Window:
    """From `start`, before `end`. UTC, as dbt counts event times."""

    start: datetime
    end: datetime

    @classmethod
    def from_json(cls, data: Sequence[str]) -> Window:
        start, end = (datetime.fromisoformat(one) for one in data)
        return cls(start, end)

    @classmethod
    def asked(cls, start: str, end: str, names: tuple[str, str]) -> Window:
        """The window somebody asked for; `names` are the two fields' or flags'.

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
        start, end = (f"{one:%Y-%m-%dT%H:%M:%S}" for one in (self.start, self.end))
        return START_FLAG, start, END_FLAG, end

    def __str__(self) -> str:
        """`2026-11-28 16:00 to 18:00`; of whole days only the dates."""
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
    """What one run filled of a model, and what it failed to fill."""

    filled: tuple[Window, ...] = ()
    failed: tuple[Window, ...] = ()
    cut_off: bool = False
    """Whether it was stopped before it told what it had filled: then all counts as failed."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Filled:
        return cls(
            tuple(Window.from_json(one) for one in data["filled"]),
            tuple(Window.from_json(one) for one in data["failed"]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "filled": [one.to_json() for one in self.filled],
            "failed": [one.to_json() for one in self.failed],
        }


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same event time in as few windows as possible, in order."""
    found: list[Window] = []
    for one in sorted(windows):
        if found and one.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, one.end))
        else:
            found.append(one)
    return tuple(found)


def without(windows: Iterable[Window], taken: Iterable[Window]) -> tuple[Window, ...]:
    """What of `windows` lies in none of `taken`."""
    left = list(merged(windows))
    for away in taken:
        left = [
            part
            for one in left
            for part in (
                Window(one.start, min(one.end, away.start)),
                Window(max(one.start, away.end), one.end),
            )
            if part.start < part.end
        ]
    return merged(left)


def gaps(results: Iterable[Filled]) -> tuple[Window, ...]:
    """What failed in some of the results, oldest first, and was not filled by a later one."""
    left: tuple[Window, ...] = ()
    for one in results:
        left = merged((*without(left, one.filled), *one.failed))
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
