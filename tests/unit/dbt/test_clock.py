"""The moments at which configuration that read the clock is rendered again."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mage_dbt.dbt.patches.clock import elsewhen

ZONES = ("UTC", "Asia/Seoul", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "America/Lima")


@pytest.mark.parametrize("zone", ZONES)
@given(
    now=st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2060, 1, 1)),
    lag=st.integers(0, 600),
)
def test_whenever_a_project_is_parsed_every_condition_is_seen_both_true_and_false(
    zone: str, now: datetime.datetime, lag: int
) -> None:
    now = now.replace(tzinfo=datetime.UTC)
    # What a template asks for may have been read a while before: `run_started_at`.
    before = datetime.timedelta(seconds=lag)
    moments = [(moment - before).astimezone(ZoneInfo(zone)) for moment in elsewhen(now)]
    assert {moment.weekday() for moment in moments} == set(range(7))
    assert {moment.day for moment in moments} == set(range(1, 32))
    assert {moment.month for moment in moments} == set(range(1, 13))
    assert {moment.hour for moment in moments} == set(range(24))
    assert {moment.minute < 30 for moment in moments} == {True, False}
    assert {moment.second % 2 for moment in moments} == {0, 1}
    assert {moment.year for moment in moments} == {now.year + 1, now.year + 2}
