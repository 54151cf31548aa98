"""What the blocks in Mage call: a request to the runner, its progress in Mage's log, its table.

A block is a client. It asks for a run, or attaches to the one that its pipeline run already has,
prints what happens, and gives one row a node; when not every node passed it leaves the table as the
block's output and fails. dbt is never its child: the run goes on whatever happens to Mage.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from mage_dbt import report
from mage_dbt.client import RunnerClient
from mage_dbt.errors import (
    BadSelection,
    Conflict,
    NothingLeft,
    RunCancelled,
    RunFailed,
)
from mage_dbt.mage import begun
from mage_dbt.mage.attempt import after, finished, idempotency_key, store_output
from mage_dbt.mage.door.people import ASKED_BY
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.mage.refusals import NOTHING
from mage_dbt.mage.triggers import RETRIED_BY, SOMEBODY
from mage_dbt.mage.typed import switch, text, variables, words
from mage_dbt.request import TIMES, Cause, Operation, Request
from mage_dbt.run import CANCELLED_IN_MAGE, RUN_ID, Run, RunState
from mage_dbt.selection import is_name

COLUMNS = ["status", "node", "why", "seconds", "rows", "type"]
"""Of the table; Mage shows it in a narrow panel, so what matters most comes first."""

OTHER_DOORS: Mapping[str, str] = {
    Cause.API: "through the API",
    Cause.TOOL: "with mage-dbt in a terminal",
}
"""How a run came that did not come from Mage, in words."""

EVERYTHING = "Name models, such as fct_orders+; a * is every model."
"""What to do where no model is named: an empty selection is never taken for all of them."""

PREVIEWED = ["node", "why", "as", "writes", "rows now", "seconds", "type"]
"""Columns of a preview, in the same narrow panel."""

TO_DO_IT = "To do it, run it again with `preview` set to false."

REBUILDS = "For real these tables are dropped and built again from all rows of their sources. "

MOST_OF_A_DAY = 500
"""Runs that are looked through for the daily build of today."""

SOCKET = "RUNNER_SOCKET"
"""The environment variable that names the runner's Unix socket."""


def daily_full_build(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Builds and tests everything; once a morning when the schedule calls."""
    return _run(kwargs, {"operation": Operation.BUILD}, *begun.read(kwargs))


def incremental_full_refresh(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Rebuilds all rows of the chosen incremental models, and what depends on them; previews it
    unless `preview` is false."""
    models = _models(kwargs, downstream=switch(kwargs, "with_downstream", True))
    what = {"operation": Operation.FULL_REFRESH, **models}
    return _run(kwargs, what | {"commit": text(kwargs, "commit")}, preview=True)


def single_model_rerun(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Builds and tests the chosen models again."""
    models = _models(
        kwargs,
        upstream=switch(kwargs, "with_upstream", False),
        downstream=switch(kwargs, "with_downstream", False),
    )
    window = {name: text(kwargs, name) for name in TIMES}
    what = {"operation": Operation.BUILD, **models, **window}
    return _run(kwargs, what | {"commit": text(kwargs, "commit")})


def rerun_failed(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Runs what did not pass in an earlier run: the one named, or the last full build."""
    what = {"operation": Operation.RERUN_FAILED, "of": text(kwargs, "failed_run")}
    return _run(kwargs, what | {"commit": text(kwargs, "commit")})


def dbt_command(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Runs an allowed dbt command as typed."""
    return _run(kwargs, {"operation": Operation.COMMAND, "command": text(kwargs, "command")})


def dbt_model(kwargs: Mapping[str, Any], select: str, full_refresh: bool = False) -> pd.DataFrame:
    """For a block in a pipeline of an analyst's own: builds and tests what `select` names.

    Raises BadSelection where it names nothing, which dbt would take for everything.
    """
    if not select.strip():
        raise BadSelection("`select` in this block names no model.", EVERYTHING)
    operation = Operation.FULL_REFRESH if full_refresh else Operation.BUILD
    return _run(kwargs, {"operation": operation, "select": select})


def run_command(
    words: Sequence[str], variables: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> pd.DataFrame:
    """For Mage's own dbt blocks: runs a dbt command given as a list of words."""
    what = {"operation": Operation.COMMAND, "command": shlex.join(words)}
    return _run(kwargs, what | {"variables": dict(variables)})


def _run(
    kwargs: Mapping[str, Any],
    what: Mapping[str, Any],
    cause: Cause = Cause.FORM,
    ticket: str = "",
    preview: bool = False,
) -> pd.DataFrame:
    """`preview` is the default of the variable of that name."""
    client = RunnerClient(Path(os.environ[SOCKET]))
    key, previous = idempotency_key(kwargs)
    asked = {
        "variables": variables(kwargs),
        **what,
        "why": words(kwargs, "why"),
        "cause": cause,
        "caller": _caller(kwargs),
        "key": key,
        "mage_run": kwargs.get("pipeline_run_id"),
    }
    # Asked for by the API or the tool; this pipeline run was made for it to be seen here.
    recorded = words(kwargs, "run")
    recorded = recorded if RUN_ID.fullmatch(recorded) else ""
    retried_by = words(kwargs, RETRIED_BY) or SOMEBODY
    if switch(kwargs, "preview", preview) and not recorded:
        return _preview(client, Request.parse(asked))
    try:
        if previous:
            run = _submit(client, _retry(client, asked, previous, key, retried_by))
        elif recorded:
            run = client.finished(recorded, _say)
        elif _is_daily(kwargs) and cause is Cause.FORM:
            run = _of_today(client) or _submit(client, Request.parse(asked))
        else:
            run = _submit(client, Request.parse(asked), ticket)
        if key and run.state is RunState.CANCELLED and CANCELLED_IN_MAGE in run.detail:
            # Cancelling killed the block before it could note its end; being here again is a retry.
            previous, key = run.id, after(key, run.id)
            run = _submit(client, _retry(client, asked, previous, key, retried_by))
    except NothingLeft as error:
        # Another run has repaired it meanwhile: all is well.
        if previous:
            finished(kwargs, key, previous, previous)
        return _sentence(str(error))
    except Conflict as error:
        if cause is not Cause.SCHEDULE:
            raise
        return _sentence(str(error))  # Mage fired when no morning is due, and that is right
    _say(f'Run {run.id} on {run.commit[:7]} "{run.commit_subject}" (dbt {run.dbt_version})')
    if door := OTHER_DOORS.get(run.cause):
        _say(f"Asked for by {run.caller}, {door}. Why: {run.why or 'not said'}")
    if run.follows and not previous:  # a retry has said so
        _say(f"It runs again what did not pass in run {run.follows}.")
    run = report.follow(client, run.id, _say)
    warned = {"node": "WARNING", "status": "warn", "type": "", "seconds": 0.0}
    told = [{**warned, "why": text} for text in run.warnings]
    frame = pd.DataFrame([*told, *report.rows(run.nodes)], columns=COLUMNS)
    if run.state is RunState.SUCCESS:
        finished(kwargs, key, previous, run.id)
        return frame
    failure = report.failure(run)
    # A run that was refused at its turn has no nodes.
    store_output(kwargs, frame if run.nodes else _refused(failure))
    finished(kwargs, key, previous, run.id, failure)
    raise (RunCancelled if run.state is RunState.CANCELLED else RunFailed)(failure)


def _of_today(client: RunnerClient) -> Run | None:
    """Today's daily build where there is one, for somebody who has begun its trigger by hand; says
    what it is, or when the morning's comes."""
    due = datetime.fromisoformat(client.status()["next_morning"])
    today = datetime.now(due.tzinfo).date()
    there = client.runs(limit=MOST_OF_A_DAY, since=(due - timedelta(days=2)).isoformat())
    built = next((one for one in there if one.morning == today.isoformat()), None)
    if built is None:
        if due.date() == today:
            _say(f"The daily build of {today} comes at {due:%H:%M %Z}; this one is beside it, now.")
        return None
    _say(
        f"The daily build of {today} is there already (run {built.id}, {built.state}), so nothing "
        "is built again: this shows it. To build everything once more use Run@once on the page "
        "Triggers of daily_full_build; to run only what did not pass, the pipeline rerun_failed."
    )
    return built


def _submit(client: RunnerClient, request: Request, ticket: str = "") -> Run:
    """With a key asking again is safe, so a runner that is away is waited for."""
    if request.waits_for_commit:
        _say(report.WAITS_FOR_COMMIT)
    if request.key:
        return client.submit_patiently(request, _say, ticket)
    return client.submit(request, ticket)


def _retry(
    client: RunnerClient, asked: Mapping[str, Any], previous: str, key: str | None, caller: str
) -> Request:
    """Keeps a version that was asked for by name; else the newest, which may hold the repair."""
    _say(f"Retry: what did not pass in run {previous} runs again.")
    kept = {name: asked[name] for name in ("why", "mage_run")}
    commit = client.finished(previous, _say).request.get("commit", "")
    rerun = {"operation": Operation.RERUN_FAILED, "of": previous, "commit": commit}
    return Request.parse({**kept, **rerun, "cause": Cause.FORM, "key": key, "caller": caller})


def _preview(client: RunnerClient, request: Request) -> pd.DataFrame:
    """The plan as a table, what would be lost first: it is what somebody who previews looks at."""
    plan = client.plan(request)
    counted = report.planned(plan["nodes"], plan["counted"], plan["hooks"])
    _say(f"Preview: nothing is changed. On {plan['commit'][:7]} would run {counted}:")
    found = report.plan_rows(plan)
    for line in (*report.plan_lines(plan), *report.columns(found)):
        _say(line)
    _say(TO_DO_IT)
    told = [{"node": "WARNING", "why": text} for text in plan["warnings"]]
    done = f"Nothing is changed. {REBUILDS if _refreshes(request) else ''}{TO_DO_IT}"
    told.append({"node": "PREVIEW", "why": done})
    return pd.DataFrame([*told, *found], columns=PREVIEWED).astype(object).fillna("")


def _refreshes(request: Request) -> bool:
    return request.operation is Operation.FULL_REFRESH


def _sentence(text: str) -> pd.DataFrame:
    """A table that says why there is none: an empty one is an error message on Mage's page."""
    _say(text)
    return _refused(text)


def _refused(text: str) -> pd.DataFrame:
    return pd.DataFrame([{NOTHING: text}])


def _say(text: str, level: int = logging.INFO) -> None:
    """One log row a line, at its level. While a pipeline runs, Mage's standard output is a log that
    takes everything as INFO; the logger behind it takes any level."""
    log = getattr(sys.stdout, "logger", None)
    for line in text.splitlines():
        if not line.strip():
            continue
        if log is None or level == logging.INFO:
            print(line)
        else:
            log.log(level, line, **getattr(sys.stdout, "logging_tags", {}))


def _is_daily(kwargs: Mapping[str, Any]) -> bool:
    """Whether it comes from the trigger of the daily build, by its schedule or by hand."""
    own = (kwargs.get("pipeline_uuid"), kwargs.get("trigger_name"))
    return own == (DAILY_PIPELINE, DAILY_TRIGGER)


def _caller(kwargs: Mapping[str, Any]) -> str:
    """Who began it; for a schedule that nobody put a name to, its trigger. What somebody begins on
    a page of Mage's has the variable, without a login an empty one."""
    trigger = kwargs.get("trigger_name")
    if trigger and ASKED_BY not in kwargs:
        return f"Mage, trigger {trigger}"
    return words(kwargs, ASKED_BY) or SOMEBODY


def _models(
    kwargs: Mapping[str, Any], upstream: bool = False, downstream: bool = False
) -> dict[str, Any]:
    """What of a request says which models. A name is that one model's; whoever writes dbt's
    selection syntax instead gets what it selects."""
    models = text(kwargs, "model").split()
    if not models:
        raise BadSelection("No model was chosen.", "Set the variable `model` to a model's name.")
    if all(is_name(one) for one in models):
        return {"models": models, "with_upstream": upstream, "with_downstream": downstream}
    before, after = "+" if upstream else "", "+" if downstream else ""
    return {"select": [f"{before}{one}{after}" for one in models]}
