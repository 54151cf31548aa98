"""A change of the daily build's schedule, as somebody asks for it and as it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from mage_dbt.base.clock import Clock
from mage_dbt.base.redaction import scrub
from mage_dbt.errors import RequestError
from mage_dbt.model.body import CLOCK, PLAIN, Body, Text
from mage_dbt.model.daily_build import first_instant
from mage_dbt.model.schedule import local_time

LONGEST_PAUSE = timedelta(days=90)
"""A longer pause is a mistake, or needs somebody to end it."""


class ScheduleRequest(Body):
    """What somebody wants to change of the daily build's schedule."""

    build_at: str | None = Field(
        None,
        description="The time of day it begins, in the team's zone. One that has passed today "
        "begins today's build now, unless it has run: `today` of the answer is `late` then.",
        pattern=CLOCK,
    )
    paused: bool | None = Field(
        None, description="`true`: no daily build begins by itself. `false`: end the pause."
    )
    paused_until: Annotated[str, Field(max_length=40)] | None = Field(
        None,
        description="With `paused`: when the pause ends by itself, at most 90 days from now. RFC "
        "3339; without an offset in the team's zone.",
    )
    reset: bool | None = Field(
        None,
        description="`true`, and nothing else: the settings' time again, as by `build_at`, and no "
        "pause.",
    )
    why: Text | None = Field(
        None, description="The reason, kept in the history; a pause needs one.", pattern=PLAIN
    )
    by: Annotated[str, Field(max_length=100, pattern=PLAIN)] | None = Field(
        None, description="Who; kept as `caller` of a run is."
    )


@dataclass(frozen=True)
class ScheduleUpdate:
    """A change of the schedule. A field that is None stays as it is."""

    build_at: time | None = None
    paused: bool | None = None
    paused_until: datetime | None = None
    reset: bool = False
    why: str = ""

    @classmethod
    def checked(cls, body: ScheduleRequest, zone: ZoneInfo, now: datetime) -> ScheduleUpdate:
        """The change that a body asks for. Raises RequestError."""
        why = scrub((body.why or "").strip())
        given = [name for name in CHANGING if getattr(body, name) is not None]
        if not given:
            raise RequestError(
                "Nothing is asked for.", "Give `build_at`, `paused` or `reset`; docs/api.md."
            )
        if body.reset is not None:
            if len(given) > 1 or not body.reset:
                raise RequestError("`reset` is `true`, and stands alone.", "Leave the others out.")
            return cls(reset=True, why=why)
        until = body.paused_until
        if until is not None and not body.paused:
            raise RequestError("`paused_until` is the end of a pause.", "Give `paused` as `true`.")
        if body.paused and not why:
            raise RequestError(
                "A pause needs a reason.",
                "Give `why`: whoever misses the build in the morning reads it.",
            )
        return cls(
            build_at=time.fromisoformat(body.build_at) if body.build_at else None,
            paused=body.paused,
            paused_until=None if until is None else _end_of_pause(until, zone, now),
            why=why,
        )


CHANGING = ("build_at", "paused", "paused_until", "reset")
"""Fields of a body that change something."""


def _end_of_pause(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant. Raises RequestError when it is no time, past, or too far away."""
    try:
        found = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= len("2026-12-05"):
            raise ValueError("a date without a time")  # its beginning or its end?
        end = first_instant(found, zone) if found.tzinfo is None else found
        end = local_time(end, zone)
    except (ValueError, OverflowError):
        raise RequestError(
            f"`paused_until` is no time: {text[:40]!r}.",
            f"For example {now.astimezone(zone) + timedelta(days=1):%Y-%m-%dT12:00}.",
        ) from None
    words = Clock(zone).say_with_zone(end)
    if end <= now:
        raise RequestError(f"The pause would end at {words}, which is over.", "Take a later time.")
    if end - LONGEST_PAUSE > now:
        raise RequestError(
            f"The pause would end at {words}, more than {LONGEST_PAUSE.days} days from now.",
            "Take an earlier time, or none: then it lasts until somebody ends it.",
        )
    return end
