"""Models of the project `steps`: `facts` as it is and broken, and some that run long."""

from __future__ import annotations

FACTS = """{{ config(materialized='incremental', unique_key='id') }}
-- One row a number.
select
    id,
    amount
from {{ ref('numbers') }}
"""

BROKEN = FACTS.replace("    amount\n", "    amount / 0 as amount\n")

SLEEP_SECONDS = 600
"""Longer than any test waits: SQL that sleeps is gone only when something has ended it."""

HELD = "pg_advisory_xact_lock_shared"
"""What SQL that a test holds is doing; see `runs.WithRunner.held`."""


def sleepy(name: str = "slept") -> str:
    return f"select 1 as id, 10 as amount, pg_sleep({SLEEP_SECONDS})::text as {name}"


def waiting(lock: int) -> str:
    """Runs for as long as a test holds the lock."""
    return f"select 1 as id, 10 as amount, {HELD}({lock})::text as waited"
