"""Alerts about incremental models whose tables have other columns than their queries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime

from mage_dbt.alerts import message
from mage_dbt.commits.broken import Broken
from mage_dbt.ledger.alerts import Alert, AlertLedger
from mage_dbt.model.commit import Commit
from mage_dbt.model.survey import ColumnsChanged, Survey


class ColumnAlerts:
    """The alerts about the surveys of one runner: one for each model and set of columns."""

    def __init__(
        self,
        alerts: AlertLedger,
        commits: Callable[[], tuple[Commit | None, Broken | None]],
        survey: Callable[[], Survey | None],
    ) -> None:
        """`commits` returns the live commit and the broken one, `survey` the latest survey."""
        self._alerts = alerts
        self._commits = commits
        self._survey = survey
        self._seen: Survey | None = None

    def new(self, now: datetime) -> Iterator[Alert]:
        """One message on all models that the survey of the live commit has found, and that none
        was about before. Every further model has a silent alert, so that it is known."""
        survey, (live, _) = self._survey(), self._commits()
        if survey is None or live is None or survey.commit != live.sha or survey is self._seen:
            return
        keys = {key_of(model): model for model in survey.changed}
        known = self._alerts.known(keys) if keys else set()
        models = {key: model for key, model in keys.items() if key not in known}
        if models:
            found = [*models.values()]
            text = message.columns_changed(found, live.sha, live.subject, live.author)
            first, *others = models
            yield Alert(first, now, text)
            for key in others:
                yield Alert(key, now, text, silent=True)
        self._seen = survey


def key_of(model: ColumnsChanged) -> str:
    """The same for the same columns of the same model."""
    columns = sorted([change.name, change.before, change.after] for change in model.columns)
    digest = hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]
    return f"columns:{model.node}:{digest}"
