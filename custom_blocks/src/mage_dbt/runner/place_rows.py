"""The rows of `line.place`, and every statement about them.

A row is one run's place, carried by one runner. A runner's number changes with each session it
opens, so a row tells which session of which runner put it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from mage_dbt.run import Run
from mage_dbt.runner.locks import Session
from mage_dbt.runner.places import Place

CARRY = """
insert into line.place as place (run, runner, home) values (%(run)s, %(runner)s, %(home)s)
on conflict (run) do update set ticket = null, began_at = null
where place.runner = excluded.runner
returning number
"""

RENUMBER = """
update line.place
set runner = %s, began_at = case when run = any(%s) then null else began_at end
where runner = any(%s)
returning run
"""

ENTER = """
update line.place set ticket = nextval('line.ticket'), writes = %(writes)s, reads = %(reads)s,
    title = %(title)s, cause = %(cause)s, caller = %(caller)s, began_at = null
where run = %(run)s and runner = %(runner)s
"""

STATE = """
select ticket, began_at, runner = %s as mine from line.place where ticket is not null
order by ticket
"""

READ = """
select ticket, run, title, cause, caller, writes, reads from line.place where ticket = any(%s)
"""

TAKE_OVER = """
update line.place set runner = %s, home = %s where run = %s and runner = %s returning number
"""

LEFT_BEHIND = """
select id from ledger.run
where asked_at < now() - make_interval(secs => %(grace)s)
    and (%(all)s or asked_at > now() - interval '1 hour')
    and not exists (select from line.place where place.run = run.id)
    and not exists (
        select from ledger.event
        where event.run = run.id and kind = 'state'
            and data ->> 'state' in ('Success', 'Error', 'Cancelled')
    )
order by asked_at, id
"""

State = list[dict[str, Any]]
"""What can change of the line: tickets, when each began, and whether it is ours."""


class PlaceRows:
    """The rows as one runner sees them; for one thread. Every method raises psycopg.Error."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._runner = 0
        self._numbers: list[int] = []
        self._known: dict[int, Place] = {}

    def renumber(self, session: Session, number: int, waiting: Collection[str]) -> set[str]:
        """Our rows get this runner number; gives their runs. Those of `waiting` have no turn."""
        self._numbers.append(number)  # the update may be done though we never hear of it
        rows = session.execute(RENUMBER, [number, list(waiting), self._numbers]).fetchall()
        self._runner, self._numbers = number, [number]
        return {row["run"] for row in rows}

    def carry(self, session: Session, run: str) -> int | None:
        """Makes the run's row ours; gives its number, None when another runner has it."""
        values = {"run": run, "runner": self._runner, "home": self.home}
        row = session.execute(CARRY, values).fetchone()
        return row["number"] if row else None

    def remove(self, session: Session, runs: Collection[str]) -> None:
        session.execute(
            "delete from line.place where run = any(%s) and runner = %s",
            [list(runs), self._runner],
        )

    def enter(
        self, session: Session, run: Run, writes: Iterable[str], reads: Iterable[str]
    ) -> None:
        """Puts the run at the line's end."""
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
        """From now on these runs have their turn."""
        session.execute(
            "update line.place set began_at = clock_timestamp() where run = any(%s)", [list(runs)]
        )

    def state(self, session: Session) -> State:
        return session.execute(STATE, [self._runner]).fetchall()

    def look(self, session: Session) -> list[Place]:
        """The line as it stands. What a ticket asks for never changes, so it is fetched once."""
        rows = self.state(session)
        missing = [row["ticket"] for row in rows if row["ticket"] not in self._known]
        if missing:
            for row in session.execute(READ, [missing]).fetchall():
                row |= {name: tuple(row[name]) for name in ("writes", "reads")}
                self._known[row["ticket"]] = Place(**row)
        here = {row["ticket"] for row in rows}
        self._known = {ticket: one for ticket, one in self._known.items() if ticket in here}
        return [
            replace(self._known[row["ticket"]], began_at=row["began_at"], mine=row["mine"])
            for row in rows
            if row["ticket"] in self._known
        ]

    def of_others(self, session: Session) -> list[dict[str, Any]]:
        """Rows that other runners carry: run, number, runner, home."""
        return session.execute(
            "select run, number, runner, home from line.place where runner <> %s order by run",
            [self._runner],
        ).fetchall()

    def take_over(self, session: Session, run: str, runner: int) -> int | None:
        """Makes ours what `runner` still has; gives the row's number."""
        values = [self._runner, self.home, run, runner]
        row = session.execute(TAKE_OVER, values).fetchone()
        return row["number"] if row else None

    def left_behind(self, session: Session, grace: float, everything: bool) -> list[str]:
        """Runs without an end that nobody carries, at least `grace` seconds old; those of the last
        hour, or all."""
        values = {"grace": grace, "all": everything}
        return [row["id"] for row in session.execute(LEFT_BEHIND, values).fetchall()]
