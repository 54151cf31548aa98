"""The functions that blocks in Mage call: a request to the runner, its progress, its table.

A block is a client. It requests a run, or attaches to the run that its pipeline run already has. It
prints the progress to Mage's log and returns a table with a row for each node. When a node did not
pass, it leaves the table as the block's output and fails. dbt is never a child of the block: the
run goes on whatever happens to Mage.
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

from mage_dbt.base.clock import Clock
from mage_dbt.client import refresh_lines, report
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import BadSelection, Conflict, NothingLeft, RunCancelled, RunFailed
from mage_dbt.mage import attempt
from mage_dbt.mage.arguments import switch, text, variables, words
from mage_dbt.mage.pipeline_run import ASKED_BY, RETRIED_BY, SOMEBODY, cause_and_ticket
from mage_dbt.mage.project import DAILY_PIPELINE, DAILY_TRIGGER
from mage_dbt.mage.refusals import NOTHING
from mage_dbt.model.request import TIMES, Cause, Operation, Request
from mage_dbt.model.run import CANCELLED_IN_MAGE, RUN_ID, Run, RunState
from mage_dbt.model.selection import is_name
from mage_dbt.settings import Settings

COLUMNS = ["status", "node", "why", "seconds", "rows", "type"]
"""Of the table of results. Mage shows it in a narrow panel, so the first columns matter most."""

OUTSIDE_MAGE: Mapping[str, str] = {
    Cause.API: "through the API",
    Cause.TOOL: "with mage-dbt in a terminal",
    Cause.PAGE: "on the runner's page",
}
"""How somebody asked for a run outside Mage, in words, by its cause."""

EVERYTHING = "Name models, such as fct_orders+; a * is every model."
"""The hint when no model is named: an empty selection never means every model."""

NO_MODEL = "No model was chosen."
SET_MODEL = "Set the variable `model` to a model's name."

PREVIEWED = ["node", "why", "as", "writes", "rows now", "seconds", "type"]
"""Columns of a preview, for the same narrow panel."""

DO_IT = "To do it, run it again with `preview` set to false."

REFRESHES: Mapping[str, str] = {
    "aside": "For real these tables are built aside from all rows of their sources, checked, and "
    "swapped in; until then nobody sees them. ",
    "in place": "For real these tables are dropped and built again from all rows of their "
    "sources. ",
    "undo": "For real the former tables take the place of the present ones, which are kept. ",
}
"""What a preview says of the real thing."""

MOST_RUNS = 500
"""Runs in which today's daily build is searched for."""

SOCKET = "RUNNER_SOCKET"
"""The environment variable that names the runner's Unix socket."""


def daily_full_build(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Builds and tests everything; once for each date when the schedule calls."""
    return _run(kwargs, {"operation": Operation.BUILD}, *cause_and_ticket(kwargs))


def incremental_full_refresh(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Rebuilds all rows of the chosen tables aside and swaps them in.

    It only previews that unless `preview` is false.
    """
    what = {
        "operation": Operation.FULL_REFRESH,
        **_models(kwargs, downstream=switch(kwargs, "with_downstream", False)),
        "in_place": switch(kwargs, "in_place", False),
        "commit": text(kwargs, "commit"),
    }
    return _run(kwargs, what, preview=True)


def undo_refresh(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Brings back the tables that the last refresh of the chosen models replaced.

    It only previews that unless `preview` is false.
    """
    models = text(kwargs, "model").split()
    if not models:
        raise BadSelection(NO_MODEL, SET_MODEL)
    return _run(kwargs, {"operation": Operation.UNDO_REFRESH, "models": models}, preview=True)


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
    """Runs what did not pass in an earlier run: the run in `failed_run`, or the last full build."""
    what = {"operation": Operation.RERUN_FAILED, "of": text(kwargs, "failed_run")}
    return _run(kwargs, what | {"commit": text(kwargs, "commit")})


def dbt_command(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Runs the dbt command in `command`, when it is allowed."""
    return _run(kwargs, {"operation": Operation.COMMAND, "command": text(kwargs, "command")})


def dbt_model(
    kwargs: Mapping[str, Any],
    select: str,
    full_refresh: bool = False,
    event_time_start: str = "",
    event_time_end: str = "",
) -> pd.DataFrame:
    """Builds and tests what `select` names, for a block in an analyst's own pipeline.

    Microbatch models build the window of event time, where there is one. Raises BadSelection when
    `select` is empty, which dbt would take for every model.
    """
    if not select.strip():
        raise BadSelection("`select` in this block names no model.", EVERYTHING)
    operation = Operation.FULL_REFRESH if full_refresh else Operation.BUILD
    window = {"event_time_start": event_time_start, "event_time_end": event_time_end}
    return _run(kwargs, {"operation": operation, "select": select.split(), **window})


def run_command(
    words: Sequence[str], variables: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> pd.DataFrame:
    """Runs a dbt command, given as a list of words, for Mage's own dbt blocks."""
    what = {"operation": Operation.COMMAND, "command": shlex.join(words)}
    return _run(kwargs, what | {"variables": dict(variables)})


def _run(
    kwargs: Mapping[str, Any],
    what: Mapping[str, Any],
    cause: Cause = Cause.FORM,
    ticket: str = "",
    preview: bool = False,
) -> pd.DataFrame:
    """Requests what a block is for; `preview` is the default of the variable of that name."""
    client = RunnerClient(Path(os.environ[SOCKET]))
    key, previous = attempt.of_block(kwargs)
    asked = {
        "variables": variables(kwargs),
        **what,
        "why": words(kwargs, "why"),
        "cause": cause,
        "caller": _caller(kwargs),
        "key": key,
        "mage_run": kwargs.get("pipeline_run_id"),
    }
    # The API or the tool asked for this run; the pipeline run was made to show it here.
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
            # Cancelling killed the block before it wrote its end; this execution is a retry.
            previous, key = run.id, attempt.key_after(key, run.id)
            run = _submit(client, _retry(client, asked, previous, key, retried_by))
    except NothingLeft as error:
        # Another run has repaired it meanwhile, so this attempt passes.
        if previous:
            attempt.record_end(kwargs, key, previous, previous)
        return _sentence(str(error))
    except Conflict as error:
        if cause is not Cause.SCHEDULE:
            raise
        return _sentence(str(error))  # Mage may fire when no build is due
    _say(f'Run {run.id} on {run.commit[:7]} "{run.commit_subject}" (dbt {run.dbt_version})')
    _say(f"Its page, with what failed and why: {Settings.load().page_address}/runs/{run.id}")
    if way := OUTSIDE_MAGE.get(run.cause):
        _say(f"Asked for by {run.caller}, {way}. Why: {run.why or 'not said'}")
    if run.follows and not previous:  # a retry has said so
        _say(f"It runs again what did not pass in run {run.follows}.")
    run = report.follow(client, run.id, _say)
    warning = {"node": "WARNING", "status": "warn", "type": "", "seconds": 0.0}
    warnings = [{**warning, "why": text} for text in run.warnings]
    steps = _steps(client, run)
    rows = report.rows(run.nodes)
    # What failed comes first, and where nothing did, how the refresh ended.
    rows = [*steps, *rows] if run.state is RunState.SUCCESS else [*rows, *steps]
    frame = pd.DataFrame([*warnings, *rows], columns=COLUMNS)
    if run.state is RunState.SUCCESS:
        attempt.record_end(kwargs, key, previous, run.id)
        return frame
    failure = report.failure(run)
    # A run that was refused at its turn has no nodes.
    attempt.store_output(kwargs, frame if run.nodes or steps else _refused(failure))
    attempt.record_end(kwargs, key, previous, run.id, failure)
    raise (RunCancelled if run.state is RunState.CANCELLED else RunFailed)(failure)


def _steps(client: RunnerClient, run: Run) -> list[dict[str, Any]]:
    """Rows on the steps of a refresh, with times of the team's zone."""
    if not run.refresh:
        return []
    return refresh_lines.result_rows(run.refresh, run.id, Clock(client.status().zone))


def _of_today(client: RunnerClient) -> Run | None:
    """Today's daily build, for somebody who began its trigger by hand; None when there is none.

    Prints which run it is, or when the daily build is due.
    """
    status = client.status()
    due, now = status.next_morning, datetime.now(status.zone)
    today = now.date()
    recent = client.runs(limit=MOST_RUNS, since=(now - timedelta(days=2)).isoformat())
    built = next((run for run in recent if run.morning == today.isoformat()), None)
    if built is None:
        if status.schedule and (pause := status.schedule.pause_in_words(now)):
            _say(f"The daily build is {pause}; this one is beside it, now.")
        elif due and due.date() == today:
            _say(f"The daily build of {today} comes at {due:%H:%M %Z}; this one is beside it, now.")
        return None
    _say(
        f"The daily build of {today} is there already (run {built.id}, {built.state}), so nothing "
        "is built again: this shows it. To build everything once more use Run@once on the page "
        "Triggers of daily_full_build; to run only what did not pass, the pipeline rerun_failed."
    )
    return built


def _submit(client: RunnerClient, request: Request, ticket: str = "") -> Run:
    """Submits a request. With a key a repetition is safe, so it waits for a runner that is away."""
    if request.waits_for_commit:
        _say(report.WAITS_FOR_COMMIT)
    if request.key:
        return client.submit_patiently(request, _say, ticket)
    return client.submit(request, ticket)


def _retry(
    client: RunnerClient, asked: Mapping[str, Any], previous: str, key: str | None, caller: str
) -> Request:
    """The request of a retry: what did not pass in the run `previous`.

    It keeps a commit that the first request named. Otherwise it uses the newest, which may hold the
    repair. An undo is asked for again: it is never left half done.
    """
    if asked.get("operation") is Operation.UNDO_REFRESH:
        if client.finished(previous, _say).swapped:
            raise NothingLeft(f"Run {previous} has brought the former tables back already.")
        _say(f"Retry: the undo of run {previous} is asked for again.")
        return Request.parse({**asked, "cause": Cause.FORM, "key": key, "caller": caller})
    _say(f"Retry: what did not pass in run {previous} runs again.")
    kept = {name: asked[name] for name in ("why", "mage_run")}
    commit = client.finished(previous, _say).request.commit
    rerun = {"operation": Operation.RERUN_FAILED, "of": previous, "commit": commit}
    return Request.parse({**kept, **rerun, "cause": Cause.FORM, "key": key, "caller": caller})


def _preview(client: RunnerClient, request: Request) -> pd.DataFrame:
    """The plan as a table. What would be lost comes first, because it matters most in a preview."""
    plan = client.plan(request)
    counted = report.planned(plan.nodes, plan.counted, plan.hooks)
    _say(f"Preview: nothing is changed. On {plan.commit[:7]} would run {counted}:")
    found = report.plan_rows(plan)
    for line in (*report.plan_lines(plan), *report.columns(found)):
        _say(line)
    _say(DO_IT)
    head = [{"node": "WARNING", "why": text} for text in plan.warnings]
    note = f"Nothing is changed. {REFRESHES.get(_way(request), '')}{DO_IT}"
    head.append({"node": "PREVIEW", "why": note})
    head += [
        {"node": preview.name, "why": f"{label}: {text}"}
        for preview in plan.refresh
        for label, text in refresh_lines.preview_facts(preview)
    ]
    return pd.DataFrame([*head, *found], columns=PREVIEWED).astype(object).fillna("")


def _way(request: Request) -> str:
    """How a refresh is done: a key of REFRESHES, or empty."""
    if request.operation is Operation.UNDO_REFRESH:
        return "undo"
    if request.operation is not Operation.FULL_REFRESH:
        return ""
    return "in place" if request.in_place else "aside"


def _sentence(text: str) -> pd.DataFrame:
    """A table with one sentence. Mage's page shows an empty table as an error."""
    _say(text)
    return _refused(text)


def _refused(text: str) -> pd.DataFrame:
    return pd.DataFrame([{NOTHING: text}])


def _say(text: str, level: int = logging.INFO) -> None:
    """Prints a row of the log for each line, at its level.

    While a pipeline runs, Mage's standard output is a log that takes everything as INFO. The logger
    behind it takes any level.
    """
    log = getattr(sys.stdout, "logger", None)
    for line in text.splitlines():
        if not line.strip():
            continue
        if log is None or level == logging.INFO:
            print(line)
        else:
            log.log(level, line, **getattr(sys.stdout, "logging_tags", {}))


def _is_daily(kwargs: Mapping[str, Any]) -> bool:
    """Whether the trigger of the daily build began the run, by its schedule or by hand."""
    trigger = (kwargs.get("pipeline_uuid"), kwargs.get("trigger_name"))
    return trigger == (DAILY_PIPELINE, DAILY_TRIGGER)


def _caller(kwargs: Mapping[str, Any]) -> str:
    """Who began the run: a person, or the trigger when nobody did.

    A run that somebody begins on a page of Mage's has the variable ASKED_BY, empty without a login.
    """
    trigger = kwargs.get("trigger_name")
    if trigger and ASKED_BY not in kwargs:
        return f"Mage, trigger {trigger}"
    return words(kwargs, ASKED_BY) or SOMEBODY


def _models(
    kwargs: Mapping[str, Any], upstream: bool = False, downstream: bool = False
) -> dict[str, Any]:
    """The part of a request that says which models.

    A plain name means that model alone. dbt's selection syntax means what dbt selects by it.
    """
    models = text(kwargs, "model").split()
    if not models:
        raise BadSelection(NO_MODEL, SET_MODEL)
    if all(is_name(model) for model in models):
        return {"models": models, "with_upstream": upstream, "with_downstream": downstream}
    before, after = "+" if upstream else "", "+" if downstream else ""
    return {"select": [f"{before}{model}{after}" for model in models]}
