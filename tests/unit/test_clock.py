"""How a moment is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mage_dbt.clock import Clock

SEOUL = ZoneInfo("Asia/Seoul")
EIGHT = datetime(2026, 11, 22, 23, 4, tzinfo=UTC)
"""08:04 of the 23rd in Seoul; another date in UTC."""


def test_the_date_is_left_out_beside_a_moment_of_the_same_local_day() -> None:
    midnight = datetime(2026, 11, 23, tzinfo=SEOUL)
    assert Clock(SEOUL, beside=midnight).say(EIGHT) == "08:04"
    assert Clock(SEOUL, beside=midnight - timedelta(seconds=1)).say(EIGHT) == "2026-11-23 08:04"


def test_beside_nothing_the_date_is_said() -> None:
    assert Clock(SEOUL).say(EIGHT) == "2026-11-23 08:04"


def test_the_zone_is_named_where_the_reader_may_be_anywhere() -> None:
    assert Clock(SEOUL, beside=EIGHT).say_with_zone(EIGHT) == "08:04 KST"
    assert Clock(SEOUL).say_with_zone(EIGHT) == "2026-11-23 08:04 KST"
