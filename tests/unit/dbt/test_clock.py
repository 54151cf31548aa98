"""The moments at which configuration that read the clock is rendered again."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from mage_dbt.dbt.patches.clock import elsewhen


@given(st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2060, 1, 1)))
def test_whenever_a_project_is_parsed_every_condition_is_seen_both_true_and_false(
    now: datetime.datetime,
) -> None:
    moments = list(elsewhen(now))
    assert {moment.weekday() for moment in moments} == set(range(7))
    assert {moment.day for moment in moments} == set(range(1, 32))
    assert {moment.month for moment in moments} == set(range(1, 13))
    assert {moment.hour for moment in moments} == set(range(24))
    assert {moment.minute < 30 for moment in moments} == {True, False}
    assert {moment.year for moment in moments} == {now.year + 1, now.year + 2}
