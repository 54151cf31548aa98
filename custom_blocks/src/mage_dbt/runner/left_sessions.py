"""Ends what a run that was cut off left at work in the warehouse, and says what is still there.

The run's entry stays in the queue until no session of the run is in the warehouse. Only dbt knows
how to reach the warehouse, so a process that has imported dbt looks: a fork of a zygote.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

from mage_dbt.commits.graph_key import dbt_environment
from mage_dbt.errors import WorkspaceError
from mage_dbt.ledger import Ledger
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.run import EventKind, RunState
from mage_dbt.workers.child_process import how_ended
from mage_dbt.workers.job import Job
from mage_dbt.workers.worker import LOG_FILE
from mage_dbt.workers.zygote import Zygotes

log = logging.getLogger(__name__)

END_SECONDS = 60.0
"""How long one attempt may take: reading the profile, a connection, the end of the sessions."""

POLL_SECONDS = 2.0
"""Between two attempts."""

LOOKS = 3
"""So often a run waits for what the warehouse shows, before it ends without that."""

AT_ONCE = threading.Semaphore(2)
"""Each attempt is a session of the warehouse, and a runner that comes back may have many runs to
look for. Without a zygote each is a start of dbt, too."""

SENTENCE_END = re.compile(r"(?<=[.!?]) ")


@dataclass(frozen=True)
class Found:
    """What one attempt has found."""

    left: int = 0
    """Sessions that are still there."""
    asked: bool = True
    """Whether this adapter's server can be asked at all."""
    error: str = ""
    """Why it is not known; empty when it is."""
    restored: tuple[str, ...] = ()
    """Sentences on views that the run had dropped along."""
    step: str = ""
    """The step that its refresh has come to, as the warehouse shows it; empty where none shows."""
    outcome: str = ""
    """A sentence on that; empty for a run that refreshes nothing."""
    hint: str = ""
    """What to do then."""

    @property
    def gone(self) -> bool:
        return not self.left and not self.error

    def completed(self, state: RunState, detail: str) -> str:
        """The detail of a run's final state, with what has become of its refresh. What the detail
        says already is not said again."""
        missing = state is RunState.ERROR or (
            state is RunState.CANCELLED and self.step == Step.SWAPPED
        )
        texts = [str(self)] if not self.gone else [self.outcome, self.hint] if missing else []
        sentences = [sentence for text in texts for sentence in SENTENCE_END.split(text)]
        there = detail.lower()
        more = [text for text in sentences if text.lower().rstrip(".") not in there]
        if not any(more):
            return detail
        begin = f"{detail}." if detail and detail[-1] not in ".!?" else detail
        return " ".join(filter(None, (begin, *more)))

    def __str__(self) -> str:
        why = (
            f"it cannot be seen whether its SQL has ended ({self.error})"
            if self.error
            else f"{self.left} of its sessions are still at work in the warehouse"
        )
        return f"Its entry in the queue is kept: {why}."


def end_sessions(job: Job, zygotes: Zygotes) -> Found:
    """Ends the run's sessions and says what is left of them. Never raises."""
    try:
        with AT_ONCE:
            answer = json.loads(_answer(job, zygotes))
            refresh = answer.get("refresh", {})
            found = Found(
                answer["left"],
                answer["looked"],
                answer["error"],
                tuple(answer.get("restored", ())),
                refresh.get("step", ""),
                refresh.get("text", ""),
                refresh.get("hint", ""),
            )
    except Exception as error:  # whatever it is: nothing is known, so the entry is kept
        found = Found(error=str(error))
    if not found.gone:
        log.warning("run %s: %s", job.run, found)
    for text in found.restored:
        log.warning("run %s: %s", job.run, text)
    return found


def looks(look: Callable[[], Found]) -> Iterator[tuple[Found, bool]]:
    """Attempts without an end, each with whether the run waits for no further one: nothing of it is
    left, or LOOKS were made. Once nothing is left, that is given again without another attempt.

    The caller waits POLL_SECONDS in between.
    """
    found = look()
    for number in count(1):
        yield found, found.gone or number >= LOOKS
        found = found if found.gone else look()


def record_found(found: Found, run: str, ledger: Ledger) -> None:
    """Adds to the run's events what has become of its refresh, and what was put back.

    Raises LedgerUnreachable.
    """
    steps = [(Step.RESTORED, text) for text in found.restored]
    if found.step and not any(step.step == found.step for step in ledger.run(run).refresh):
        steps.insert(0, (Step(found.step), found.outcome))
    now = datetime.now(UTC)
    for kind, text in steps:
        ledger.event(run, now, EventKind.REFRESH, RefreshStep(kind, text).of_event())
        ledger.event(run, now, EventKind.LOG, {"level": "warn", "text": text})


def _answer(job: Job, zygotes: Zygotes) -> str:
    words = ("ended", str(job.folder))
    with (job.folder / LOG_FILE).open("ab") as output:
        started = zygotes.start(words, job.folder, dbt_environment(os.environ), output)
    with started.connection, started.answer:
        try:
            code = started.process.wait(END_SECONDS)
        except BaseException:
            started.process.kill()
            started.process.wait()
            raise
        answer = started.answer.read()
    if not answer:
        raise WorkspaceError(f"dbt's process ended before it had looked ({how_ended(code)}).")
    return answer
