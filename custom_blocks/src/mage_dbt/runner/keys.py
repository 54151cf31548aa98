"""Idempotency keys: the same key is the same run, so it must ask for the same thing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from mage_dbt.errors import KeyReused
from mage_dbt.request import Request
from mage_dbt.run import Run

LONGEST_VALUE = 200
"""Characters of a value that a message shows."""


def require_same(run: Run, request: Request) -> None:
    """Raises KeyReused, naming what differs, when `run` was asked for something else."""
    before, now = Request.parse(run.request).what(), request.what()
    differs = [name for name in now if _plain(before[name]) != _plain(now[name])]
    if differs:
        told = "; ".join(
            f"`{name}` was {_shown(before[name])} and is now {_shown(now[name])}"
            for name in differs
        )
        raise KeyReused(
            f"The idempotency key belongs to run {run.id}, which asked for something else: {told}.",
            "Take a new key for a new request; repeat a request with its first body.",
            run.id,
        )


def _plain(value: Any) -> str:
    """The value as text that is the same before and after PostgreSQL's jsonb kept it."""
    return json.dumps(_as_kept(value), sort_keys=True)


def _as_kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_kept(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_kept(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(repr(value)))  # 1e3 comes back as 1000
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
