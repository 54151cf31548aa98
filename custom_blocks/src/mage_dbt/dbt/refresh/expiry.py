"""Drops the former relations that refreshes have replaced, once their time is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.refresh.steps import Steps, in_words, refresher
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.model.refresh import Step
from mage_dbt.warehouse.refresh import RefreshRefused


def drop_expired(credentials: Any, recorder: Recorder) -> None:
    """Drops them and says which. What is left, and what goes wrong, is a warning of the run's."""
    try:
        with in_words(), refresher(credentials) as engine:
            gone = engine.drop_expired(datetime.now(UTC), recorder.warn)
    except Exception as error:  # the build is over, and this can wait
        why = error.message if isinstance(error, RefreshRefused) else str(error)
        recorder.warn(f"Former tables could not be dropped: {scrub(why.strip())}")
        return
    if gone:
        names = short_list([version.relation for version in gone])
        text = f"Former tables were dropped, their time being over: {names}."
        Steps(recorder).write(Step.EXPIRED, text, kept=tuple(gone))
