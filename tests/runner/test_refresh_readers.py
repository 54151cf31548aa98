"""Refreshes and undos under readers of every kind: none has an error, or half of the rows.

    ./scripts/test tests/runner/test_refresh_readers.py --random-size 10 --random-seed 1

N refreshes and N undos in random order, of a table of N times 100,000 rows.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator

import pytest

from mage_dbt.model.refresh import Step
from mage_dbt.model.run import Run, RunState
from tests.harness.readers import GUEST, Readers, State, schema_dump, watched
from tests.harness.runner import Runner

PROJECT = "refresh"
OWN_POSTGRESQL = True

TABLE = "analytics.facts"
VIEWS = ("reporting.facts_seen", "finance.sales", "reporting.totals")
"""Each reads the one before it, the first the table."""

REFRESHES = 2
ROWS = 3_000
"""Without --random-size: what fits beside the other tests."""

ROWS_OF_EACH = 100_000

BY_HAND = f"""
create schema reporting;
create schema finance;
create view reporting.facts_seen as select id, version, amount from {TABLE};
create view finance.sales as select id, version from reporting.facts_seen where amount >= 0;
create view reporting.totals as select id, version from finance.sales;
grant usage on schema reporting, finance to {GUEST};
grant select on reporting.facts_seen, finance.sales, reporting.totals to {GUEST};
grant select (id, amount) on {TABLE} to {GUEST};
comment on table {TABLE} is 'One row for each ''sale''.';
comment on column {TABLE}.amount is 'In cents.';
comment on view finance.sales is 'By hand.';
create index facts_by_customer on {TABLE} (lower(customer)) where amount > 0;
alter table {TABLE} add constraint facts_amount_positive check (amount >= 0);
alter table {TABLE} alter column customer set statistics 500;
"""


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> int:
    size = request.config.getoption("--random-size")
    return int(size) * ROWS_OF_EACH if size else ROWS


@pytest.fixture(scope="module")
def built(runner: Runner, rows: int) -> Runner:
    """The table and everything that people have made on it."""
    runner.execute("create schema raw")
    runner.execute(f"create table raw.size as select {rows} as rows, 1 as version")
    run = runner.run()
    assert run.state is RunState.SUCCESS, run.detail
    return runner


@pytest.fixture
def readers(built: Runner, rows: int) -> Iterator[Readers]:
    relations = watched(built.server, TABLE, *VIEWS)
    built.execute(BY_HAND)
    # Each reads all rows. Without a gap between them a swap would never get its locks.
    pause = 0.1 + rows / 500_000
    with Readers(relations, State.of(rows, version=1), pause=pause) as found:
        yield found


@pytest.mark.timeout(4 * 3600)
def test_no_reader_notices_refreshes_and_undos(
    built: Runner, readers: Readers, rows: int, request: pytest.FixtureRequest
) -> None:
    times = request.config.getoption("--random-size") or REFRESHES
    seed = request.config.getoption("--random-seed")
    chance = random.Random(seed if seed is not None else secrets.randbelow(10**6))
    middle = [True, False] * (times - 1)
    chance.shuffle(middle)
    before = schema_dump(built)
    now, former = readers.now, readers.now
    waits, locks = [], []
    for number, refreshes in enumerate([True, *middle, False], start=2):
        new = State.of(rows + number, number) if refreshes else former
        with readers.during(new):
            run = refresh(built, new) if refreshes else undo(built)
        assert run.state is RunState.SUCCESS, run.detail
        assert readers.now == new, readers.summary()
        assert not readers.troubles, readers.summary()
        [swapped] = [step for step in run.refresh if step.step is Step.SWAPPED]
        assert swapped.lock_seconds is not None and swapped.wait_seconds is not None
        locks.append(swapped.lock_seconds)
        waits.append(swapped.wait_seconds)
        now, former = new, now
        assert schema_dump(built) == before
    print(f"locked {max(locks):.3f} s, waited {max(waits):.3f} s at most")
    print(f"longest wait of a reader {readers.longest_wait:.3f} s")
    for name, counts in readers.counts().items():
        print(f"{name}: {counts.reads} reads, the longest {counts.longest:.3f} s")
        assert counts.reads, f"{name} has read nothing"


def refresh(runner: Runner, new: State) -> Run:
    runner.execute(f"update raw.size set rows = {new.rows}, version = {new.version}")
    return runner.run(operation="full_refresh", models="facts", why="another version")


def undo(runner: Runner) -> Run:
    return runner.run(operation="undo_refresh", models="facts", why="the former one")
