"""What a refresh and its undo have in common: their events, and the swap itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from dbt.adapters.exceptions import FailedToConnectError

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.connection import open_connection
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.dbt.sessions import names
from mage_dbt.model.refresh import Check, RefreshOptions, RefreshStep, Step
from mage_dbt.model.run import RESUMABLE_FOR, EventKind
from mage_dbt.warehouse.refresh import Part, Refresher, RefreshRefused, State
from mage_dbt.warehouse.refresh.postgres.refresher import PostgresRefresher
from mage_dbt.warehouse.session import words

UNCHANGED = "Nothing has changed"

DROPPED = f"What was built aside is dropped. {UNCHANGED}."

HOURS = RESUMABLE_FOR.total_seconds() / 3600
"""How long a rerun may go on with the batches of an earlier run."""


def given_back(earlier: str) -> str:
    """A sentence on the batches of an earlier run that are its again."""
    return f"{UNCHANGED}. The batches that run {earlier} has built stay aside."


def goes_on(run: str = "this run") -> str:
    """Until when a rerun goes on with the batches of `run`; it is read at any later time."""
    return f"A rerun goes on from there within {HOURS:.0f} hours of the request of {run}."


class Steps:
    """Writes what a refresh does into the run's events."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tried = False
        self.unknown = False
        """Whether a swap was tried, and the warehouse could not be asked whether it happened."""

    def write(self, step: Step, text: str, **more: Any) -> None:
        self._recorder.write(EventKind.REFRESH, **RefreshStep(step, text, **more).of_event())

    def waits(self, text: str) -> None:
        """Takes a sentence on what is waited for."""
        self.write(Step.WAITS, text)

    def check(self, check: Check) -> None:
        """Writes the outcome of a check. Raises RefreshRefused when it stops the refresh."""
        self.write(Step.CHECKED, check.text, node=check.node, check=check)
        if check.stops:
            hint = f"To swap all the same, override the check {check.name} and say why."
            raise RefreshRefused(check.text, hint, check.name)

    def swap(
        self,
        engine: Refresher,
        run: str,
        parts: Sequence[Part],
        state: State,
        options: RefreshOptions,
    ) -> None:
        """Swaps and writes how it went. Raises RefreshRefused."""
        self._tried = True
        swapped = engine.swap(run, parts, state, options, self.waits)
        models = ", ".join(part.name for part in parts)
        self.write(
            Step.SWAPPED,
            f"Swapped: {models}. Readers were locked out for {swapped.lock_seconds:.3f} s.",
            kept=swapped.kept,
            until=max((kept.until for kept in swapped.kept), default=None),
            lock_seconds=swapped.lock_seconds,
            wait_seconds=swapped.wait_seconds,
            tries=swapped.tries,
        )

    def settle_up(
        self, credentials: Any, run: str, error: RefreshRefused, gives_back: bool = False
    ) -> str:
        """After a failure finds out what has happened, and drops what was built aside.

        It asks over a connection of its own: the refresh's may have ended, even during a commit.
        Where it `gives_back`, what it took over from an earlier run is not dropped, and that run's
        again. Returns why it was not swapped, or nothing when the swap has happened after all. See
        `unknown`.
        """
        try:
            with in_words(), refresher(credentials) as engine:
                return self._settle_up(engine, run, error, gives_back)
        except Exception as failed:  # the runner looks again, when this process has ended
            names.left_behind = True
            self.unknown = self._tried
            why = failed.message if isinstance(failed, RefreshRefused) else str(failed)
            self._recorder.warn(f"What was built aside could not be dropped: {scrub(why)}")
            return scrub(error.message)

    def _settle_up(
        self, engine: Refresher, run: str, error: RefreshRefused, gives_back: bool
    ) -> str:
        if kept := engine.swapped(run):
            relations = ", ".join(version.relation for version in kept)
            until = max(version.until for version in kept)
            self.write(Step.SWAPPED, f"Swapped: {relations}.", kept=tuple(kept), until=until)
            return ""
        earlier = engine.give_back(run) if gives_back else ""
        dropped = engine.discard(run)
        if earlier:
            self.write(Step.RESUMABLE, f"{given_back(earlier)} {goes_on(f'run {earlier}')}")
        elif dropped:
            self.write(Step.DISCARDED, DROPPED)
        reason = str(error)
        if UNCHANGED.lower() not in reason.lower():
            reason = f"{error.message} {UNCHANGED}. {error.hint}".strip()
        return scrub(reason)


@contextmanager
def refresher(credentials: Any) -> Iterator[Refresher]:
    """Over a connection of its own, which is closed after the block."""
    with closing(open_connection(credentials)) as connection:
        yield PostgresRefresher(connection)


@contextmanager
def in_words() -> Iterator[None]:
    """What the server refuses in this block becomes a RefreshRefused."""
    try:
        yield
    except psycopg2.Error as error:
        what = f"The warehouse refused: {words(error).rstrip('.')}."
        raise RefreshRefused(what, "Ask again.") from error
    except FailedToConnectError as error:
        what = f"The warehouse cannot be reached: {str(error).strip()}"
        raise RefreshRefused(what, "Ask again when it can be.") from error
