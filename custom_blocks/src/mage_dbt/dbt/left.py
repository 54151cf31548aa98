"""Ends what an interrupted run left at work in the warehouse, in a process of its own.

    python -m mage_dbt.dbt.process ended FOLDER

It reads the profile as the run did, asks the server for the run's sessions, and ends them. The
answer is one line of JSON. `looked` says whether this adapter's server can be asked at all, `left`
how many sessions are still there, `error` why that is not known. When none is left, what the run
was in the middle of is put right; `restored` has sentences on views that were dropped along,
`refresh` what became of its refresh, or of the undo: the step that it has come to, a sentence on
that, and what to do.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from typing import Any

from dbt.config.runtime import load_profile
from dbt.flags import set_from_args
from dbt_common.context import set_invocation_context

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.sessions.names import run_name
from mage_dbt.model.command import UNDO
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.workers.job import EVENTS_FILE, Job


def end(job: Job) -> dict[str, Any]:
    """The answer; never raises."""
    try:
        credentials = _credentials(job)
        if credentials.type != "postgres":
            return {"looked": False, "left": 0, "error": ""}
        from mage_dbt.dbt.sessions.postgres import CannotTell, end_sessions

        try:
            left = end_sessions(credentials, run_name(job.run))
        except CannotTell as error:
            print(f"The warehouse does not tell whose its sessions are: {error}", file=sys.stderr)
            return {"looked": False, "left": 0, "error": ""}
        refresh: dict[str, str] = {}
        if not left and (job.refresh or job.command == UNDO):
            refresh = _put_right(credentials, job)
        restored = _put_back(credentials, job) if not left else []
        return {
            "looked": True,
            "left": left,
            "error": "",
            "restored": restored,
            "refresh": refresh,
        }
    except Exception as error:
        return {"looked": True, "left": 0, "error": scrub(str(error).strip() or repr(error))}


def _has_done(job: Job, step: Step) -> bool:
    """Whether the run's events, or the ledger where these are lost, have such a step."""
    if step in job.done:
        return True
    file = job.folder / EVENTS_FILE
    if not file.exists():
        return False
    mark = f'"step": "{step}"'
    with file.open(errors="replace") as events:
        return any(mark in line for line in events)


def _put_right(credentials: Any, job: Job) -> dict[str, str]:
    """Drops what the run's refresh has built aside, unless a rerun goes on with it.

    Batches of an earlier run are given back to it, unless this run has filled more of them. Returns
    what has become of the refresh; see above.
    """
    from mage_dbt.dbt.refresh.steps import DROPPED, UNCHANGED, given_back, goes_on, refresher
    from mage_dbt.dbt.results import after_swap
    from mage_dbt.warehouse.refresh import RefreshRefused

    def found(step: Step | str, text: str, hint: str = "Ask again.") -> dict[str, str]:
        return {"step": str(step), "text": text, "hint": hint}

    with refresher(credentials) as engine:
        kept = tuple(engine.swapped(job.run))
        swapped = ", ".join(version.relation for version in kept)
        discarded = _has_done(job, Step.DISCARDED)
        filled = _has_done(job, Step.BATCH)
        resumable = filled and not (swapped or discarded) and engine.has_aside(job.run)
        earlier, dropped, left = "", False, ""
        try:
            if not filled:
                earlier = engine.give_back(job.run)
            dropped = not resumable and engine.discard(job.run)
        except RefreshRefused as refused:
            # A view of a hook's may read it for ever: nobody waits for that. A daily build drops
            # what is aside when it can, or says why it cannot.
            left = f"What was built aside is left: {scrub(str(refused))}"
            print(left, file=sys.stderr)
    if swapped:
        hint = "Nothing is left to do; `undo_refresh` brings back what stood there."
        text = f"It was swapped all the same: {swapped}."
        until = max(version.until for version in kept)
        after_swap.add(job.folder, RefreshStep(Step.SWAPPED, text, kept=kept, until=until))
        return found(Step.SWAPPED, text, hint)
    after_swap.add_unless_swapped(job.folder)
    if resumable:
        text = f"{UNCHANGED}. The batches that are built stay aside."
        return found(Step.RESUMABLE, text, goes_on())
    if earlier:
        return found(Step.RESUMABLE, given_back(earlier), goes_on(f"run {earlier}"))
    if dropped:
        return found(Step.DISCARDED, DROPPED)
    if left or discarded or not _has_done(job, Step.ASIDE):
        return found("", f"{left} {UNCHANGED}.".strip())
    # The swap of a table that was not there before keeps no former one.
    return found("", f"{UNCHANGED} of what was there before; a table that was new may be there.")


def _put_back(credentials: Any, job: Job) -> list[str]:
    """Puts back the views that the run has dropped along."""
    from mage_dbt.dbt.dropped_views import put_back

    return put_back(job.folder, credentials)


def _credentials(job: Job) -> Any:
    words = list(job.dbt_arguments)
    given = {words[at]: words[at + 1] for at in range(0, len(words) - 1, 2)}
    set_invocation_context(dict(os.environ))  # what `env_var` in a profile reads
    set_from_args(
        Namespace(PROFILES_DIR=given["--profiles-dir"], PROJECT_DIR=given["--project-dir"]), None
    )
    profile = load_profile(
        given["--project-dir"],
        dict(job.variables),
        given.get("--profile"),
        given.get("--target"),
    )
    return profile.credentials


def answer(job: Job) -> str:
    return json.dumps(end(job))
