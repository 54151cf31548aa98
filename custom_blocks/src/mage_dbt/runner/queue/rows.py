"""The rows of `queue.entry`, and every statement about them.

A row is the entry of one run, and one runner owns it. A runner's number changes with each session
that it opens, so a row names the session of the runner that owns it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from mage_dbt.ledger.sql import FINAL_STATES
from mage_dbt.model.refresh import Step
from mage_dbt.model.run import Run
from mage_dbt.runner.queue.entries import Entry
from mage_dbt.runner.queue.leases import Session

CLAIM = """
insert into queue.entry as entry (run, runner, home) values (%(run)s, %(runner)s, %(home)s)
on conflict (run) do update set position = null, began_at = null
where entry.runner = excluded.runner
returning lease
"""

RENUMBER = """
update queue.entry
set runner = %s, began_at = case when run = any(%s) then null else began_at end
where runner = any(%s)
returning run
"""

ENTER = """
update queue.entry set position = nextval('queue.position'), writes = %(writes)s,
    reads = %(reads)s, title = %(title)s, cause = %(cause)s, caller = %(caller)s, began_at = null
where run = %(run)s and runner = %(runner)s
"""

STATE = f"""
select position, began_at, runner = %s as mine, began_at is not null and coalesce((
    select data ->> 'step' = '{Step.HOLDS}' from ledger.event
    where event.run = entry.run and kind = 'refresh' order by seq desc limit 1
), false) as holds
from queue.entry where position is not null
order by position
"""

READ = """
select position, run, title, cause, caller, writes, reads from queue.entry
where position = any(%s)
"""

TAKE_OVER = """
update queue.entry set runner = %s, home = %s where run = %s and runner = %s returning lease
"""

WITHOUT_ENTRY = f"""
select id from ledger.run
where asked_at < now() - make_interval(secs => %(grace)s)
    and (%(all)s or asked_at > now() - interval '1 hour')
    and not exists (select from queue.entry where entry.run = run.id)
    and not exists (
        select from ledger.event
        where event.run = run.id and kind = 'state'
            and data ->> 'state' in {FINAL_STATES}
    )
order by asked_at, id
"""

State = list[dict[str, Any]]
"""What can change in the queue: positions, when each run got its turn, whether it is ours, and
whether it holds."""


class EntryRows:
    """The rows as one runner sees them; for one thread. Every method raises psycopg.Error."""

    def __init__(self, home: str) -> None:
        """`home` names the machine and the folder of this runner."""
        self.home = home
        self._runner = 0
        self._numbers: list[int] = []
        self._known: dict[int, Entry] = {}

    def renumber(self, session: Session, number: int, waiting: Collection[str]) -> set[str]:
        """Gives our rows this runner number and returns their runs; `waiting` have no turn."""
        self._numbers.append(number)  # the update may be done though its answer is lost
        rows = session.execute(RENUMBER, [number, list(waiting), self._numbers]).fetchall()
        self._runner, self._numbers = number, [number]
        return {row["run"] for row in rows}

    def claim(self, session: Session, run: str) -> int | None:
        """Makes the run's row ours; returns its lease, None when another runner owns the run."""
        values = {"run": run, "runner": self._runner, "home": self.home}
        row = session.execute(CLAIM, values).fetchone()
        return row["lease"] if row else None

    def remove(self, session: Session, runs: Collection[str]) -> None:
        session.execute(
            "delete from queue.entry where run = any(%s) and runner = %s",
            [list(runs), self._runner],
        )

    def enter(
        self, session: Session, run: Run, writes: Iterable[str], reads: Iterable[str]
    ) -> None:
        """Puts the run at the end of the queue."""
        values = {
            "run": run.id,
            "runner": self._runner,
            "writes": list(writes),
            "reads": list(reads),
            "title": run.title,
            "cause": run.cause,
            "caller": run.caller,
        }
        session.execute(ENTER, values)

    def begin(self, session: Session, runs: Collection[str]) -> None:
        """Writes down that these runs have their turn."""
        session.execute(
            "update queue.entry set began_at = clock_timestamp() where run = any(%s)",
            [list(runs)],
        )

    def state(self, session: Session) -> State:
        return session.execute(STATE, [self._runner]).fetchall()

    def read(self, session: Session, rows: State) -> list[Entry]:
        """The whole queue in this state. The relations at a position never change, so they are read
        once."""
        missing = [row["position"] for row in rows if row["position"] not in self._known]
        if missing:
            for row in session.execute(READ, [missing]).fetchall():
                row |= {name: tuple(row[name]) for name in ("writes", "reads")}
                self._known[row["position"]] = Entry(**row)
        here = {row["position"] for row in rows}
        self._known = {at: entry for at, entry in self._known.items() if at in here}
        return [
            replace(
                self._known[row["position"]],
                **{name: row[name] for name in ("began_at", "mine", "holds")},
            )
            for row in rows
            if row["position"] in self._known
        ]

    def of_others(self, session: Session) -> list[dict[str, Any]]:
        """Rows that other runners own: run, lease, runner, home."""
        return session.execute(
            "select run, lease, runner, home from queue.entry where runner <> %s order by run",
            [self._runner],
        ).fetchall()

    def take_over(self, session: Session, run: str, runner: int) -> int | None:
        """Makes the row ours if `runner` still owns it; returns its lease."""
        values = [self._runner, self.home, run, runner]
        row = session.execute(TAKE_OVER, values).fetchone()
        return row["lease"] if row else None

    def without_entry(self, session: Session, grace: float, everything: bool) -> list[str]:
        """Runs without an end and without an entry, asked for at least `grace` seconds ago: those
        of the last hour, or all."""
        values = {"grace": grace, "all": everything}
        return [row["id"] for row in session.execute(WITHOUT_ENTRY, values).fetchall()]
