"""Which run a request is: a new one with a key of its own, or one that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from mage_dbt.errors import Conflict, RequestError
from mage_dbt.ledger import Ledger
from mage_dbt.morning import DAILY_KEYS, Decision, Morning
from mage_dbt.request import Cause, Request
from mage_dbt.run import Run
from mage_dbt.runner.keys import require_same


@dataclass(frozen=True)
class Claim:
    """A new run's key, and the morning it is the build of; or the run that has it already."""

    key: str | None = None
    morning: date | None = None
    late_seconds: int = 0
    run: Run | None = None

    @classmethod
    def morning_of(cls, decision: Decision) -> Claim:
        return cls(decision.key, decision.day, round(decision.late_by.total_seconds()))


class Claims:
    """Decides by the request's key, and for the schedule and a start by the morning."""

    def __init__(self, ledger: Ledger, morning: Morning) -> None:
        self._ledger = ledger
        self._morning = morning

    def of(self, request: Request) -> Claim:
        """Which key the request's run has, or the run that is there already.

        Raises KeyReused, RequestError for a morning's key, or Conflict for a schedule that fires
        when no morning build is due.
        """
        if request.key and request.key.startswith(DAILY_KEYS):
            raise RequestError(
                f"The key {request.key!r} is a morning's: keys that begin {DAILY_KEYS!r} are the "
                "runner's own.",
                "Take another key.",
            )
        known = self._ledger.run_with_key(request.key) if request.key else None
        if known is not None:
            require_same(known, request)
            return Claim(run=known)
        if not request.builds_everything:
            return Claim(request.key)  # no morning, whoever asks
        if request.cause is Cause.SCHEDULE:
            return self._of_schedule(request)
        if request.cause is Cause.START:
            return self._of_start(request)
        return Claim(request.key)

    def _of_schedule(self, request: Request) -> Claim:
        if request.mage_run is not None:
            for run in self._ledger.runs(mage_run=request.mage_run):
                if run.morning:  # executed again, perhaps after midnight: still that build
                    return Claim(run=run)
        decision = self._decision()
        if decision.builds:
            return Claim.morning_of(decision)
        built = self._ledger.run_with_key(decision.key)
        if built is not None:
            return Claim(run=built)
        local = decision.due.astimezone(self._morning.zone)
        raise Conflict(
            f"The build of {decision.day} is not due before {local:%H:%M %Z}.",
            "Nothing to do: the schedule fires again then.",
        )

    def _of_start(self, request: Request) -> Claim:
        """A start's build is the morning's when that was missed, or joins it while it goes on."""
        if not self._ledger.runs(limit=1):
            return Claim(request.key)  # a new workspace has missed no morning
        decision = self._decision()
        if decision.builds:
            return Claim.morning_of(decision)
        built = self._ledger.run_with_key(decision.key)
        going_on = built is not None and not built.state.final
        return Claim(run=built) if going_on else Claim(request.key)

    def _decision(self) -> Decision:
        return self._morning.decide(datetime.now(UTC), _Claimed(self._ledger))


class _Claimed:
    """The mornings' keys that are taken, as `Morning.decide` asks for them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._ledger.run_with_key(key) is not None
