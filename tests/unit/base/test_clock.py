"""How a moment is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mage_dbt.base.clock import Clock

SEOUL = ZoneInfo("Asia/Seoul")
EIGHT = datetime(2026, 11, 22, 23, 4, tzinfo=UTC)
"""08:04 of the 23rd in Seoul; another date in UTC."""


def test_the_date_is_left_out_beside_a_moment_of_the_same_local_day() -> None:
    midnight = datetime(2026, 11, 23, tzinfo=SEOUL)
    before = midnight - timedelta(seconds=1)
    assert Clock(SEOUL, beside=midnight).say_with_zone(EIGHT) == "08:04 KST"
    assert Clock(SEOUL, beside=before).say_with_zone(EIGHT) == "2026-11-23 08:04 KST"


def test_beside_nothing_the_date_is_said() -> None:
    assert Clock(SEOUL).say_with_zone(EIGHT) == "2026-11-23 08:04 KST"
    assert Clock(SEOUL).say_in_full(EIGHT) == "2026-11-23 08:04:00 KST"


def test_no_time_is_said_without_its_zone() -> None:
    """All times that sentences hold are said by this one class."""
    ways = [name for name in vars(Clock) if name.startswith("say")]
    assert ways and all(getattr(Clock(SEOUL), name)(EIGHT).endswith(" KST") for name in ways)
