"""What `mage-dbt status` tells: the live commit, what is broken, the next morning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mage_dbt.commits import Commits
from mage_dbt.counts import in_words
from mage_dbt.errors import LedgerUnreachable
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.morning import Morning
from mage_dbt.run import Run
from mage_dbt.settings import Settings


def tell(
    settings: Settings, home: Home, commits: Commits, ledger: Ledger, active: Sequence[str]
) -> dict[str, Any]:
    """Plain data; answers while PostgreSQL is away too, and says that it is."""
    live, broken = commits.live, commits.broken
    morning = Morning(settings.daily_build_at, ZoneInfo(settings.daily_build_timezone))
    try:
        last_broken, ledger_error = ledger.last_broken_commit(), ""
        going_on = [_going_on(ledger.run(one)) for one in active]
    except LedgerUnreachable as error:
        last_broken, ledger_error = None, error.message
        going_on = [{"run": one} for one in active]
    return {
        "live": None
        if live is None
        else {
            "sha": live.sha,
            "subject": live.subject,
            "author": live.author,
            "committed_at": live.committed_at,
            "models": sum(one.type == "model" for one in live.models),
            "holds": in_words((one.type, "") for one in live.nodes if one.enabled),
            "dbt_version": live.dbt_version,
            "adapter": live.adapter,
            "target": live.target,
            "notes": list(live.notes),
            "parse_warnings": live.parse_warnings.to_json(),
            "behind": commits.behind(),
        },
        "published": commits.published(),
        "preparing": commits.preparing or None,
        "broken": broken.to_json() if broken else None,
        "last_broken": last_broken,
        "sync": _read_json((settings.dbt_metric_dir or home.sync) / "status.json"),
        "next_morning": morning.next_due(datetime.now(UTC)).astimezone(morning.zone).isoformat(),
        "active_runs": going_on,
        "ledger_error": ledger_error,
        "processes": _read_json(home.processes),
    }


def _going_on(run: Run) -> dict[str, Any]:
    """A run that waits or runs: what it is, since when, and what it waits for."""
    return {
        "run": run.id,
        "title": run.title,
        "state": run.state,
        "since": (run.started_at or run.asked_at).isoformat(),
        "detail": run.detail,
        "caller": run.caller,
    }


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
