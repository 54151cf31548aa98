"""Which attempt of a block an execution is, by what Mage keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mage_dbt.mage.attempt import EndedAttempt, decide, key_after

BASE = "mage:20261123080000000000:7:daily_full_build"
ENDED_AT = datetime(2026, 11, 23, 8, 4, tzinfo=UTC)
FIRST, SECOND = "20261123-080000-4f2a9c", "20261123-083100-0b11aa"


def ended(run: str = FIRST, previous: str | None = None, passed: bool = False) -> EndedAttempt:
    key = key_after(BASE, previous) if previous else BASE
    return EndedAttempt(key, previous, run, passed, ENDED_AT.isoformat())


def test_executions_before_any_end_share_one_key() -> None:
    for started in (None, ENDED_AT, ENDED_AT + timedelta(hours=1)):
        assert decide(BASE, started, False, None) == (BASE, None)


def test_a_retry_takes_up_the_run_that_failed() -> None:
    later = ENDED_AT + timedelta(seconds=2)
    assert decide(BASE, later, False, ended()) == (key_after(BASE, FIRST), FIRST)


def test_a_second_retry_takes_up_the_second_run() -> None:
    later = ENDED_AT + timedelta(seconds=2)
    key, previous = decide(BASE, later, False, ended(SECOND, previous=FIRST))
    assert (key, previous) == (f"{BASE}:after:{SECOND}", SECOND)


def test_an_execution_that_started_before_the_end_belongs_to_the_attempt_that_ended() -> None:
    earlier = ENDED_AT - timedelta(seconds=2)
    note = ended(SECOND, previous=FIRST)
    assert decide(BASE, earlier, False, note) == (note.key, FIRST)
    # SQLite gives times back without a zone.
    assert decide(BASE, earlier.replace(tzinfo=None), False, note) == (note.key, FIRST)


def test_an_execution_that_finds_the_block_over_belongs_to_the_attempt_that_ended() -> None:
    assert decide(BASE, ENDED_AT + timedelta(seconds=2), True, ended()) == (BASE, None)


def test_a_block_that_passed_and_is_run_again_runs_from_the_start_under_a_new_key() -> None:
    later = ENDED_AT + timedelta(hours=1)
    assert decide(BASE, later, False, ended(passed=True)) == (key_after(BASE, FIRST), None)
