"""What the blocks in Mage call: a request to the runner, its progress in Mage's log, its table.

A block is a client. It asks for a run, or attaches to the one that its pipeline run already has,
prints what happens, and gives one row a node; when not every node passed it leaves the table as the
block's output and fails. dbt is never its child: the run goes on whatever happens to Mage.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
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
from mage_dbt.mage.attempt import after, finished, idempotency_key, store_output
from mage_dbt.mage.project import DAILY_TRIGGER
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

SOCKET = "RUNNER_SOCKET"
"""The environment variable that names the runner's Unix socket."""


def daily_full_build(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Builds and tests everything; once a morning when the schedule calls."""
    return _run(kwargs, {"operation": Operation.BUILD})


def incremental_full_refresh(kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Rebuilds all rows of the chosen incremental models, and what depends on them."""
    models = _models(kwargs, downstream=switch(kwargs, "with_downstream", True))
    what = {"operation": Operation.FULL_REFRESH, **models}
    return _run(kwargs, what | {"commit": text(kwargs, "commit")})


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
    """For a block in a pipeline of an analyst's own: builds and tests what `select` names."""
    operation = Operation.FULL_REFRESH if full_refresh else Operation.BUILD
    return _run(kwargs, {"operation": operation, "select": select})


def run_command(
    words: Sequence[str], variables: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> pd.DataFrame:
    """For Mage's own dbt blocks: runs a dbt command given as a list of words."""
    what = {"operation": Operation.COMMAND, "command": shlex.join(words)}
    return _run(kwargs, what | {"variables": dict(variables)})


def _run(kwargs: Mapping[str, Any], what: Mapping[str, Any]) -> pd.DataFrame:
    client = RunnerClient(Path(os.environ[SOCKET]))
    key, previous = idempotency_key(kwargs)
    asked = {
        "variables": variables(kwargs),
        **what,
        "why": words(kwargs, "why"),
        "cause": _cause(kwargs),
        "caller": _caller(kwargs),
        "key": key,
        "mage_run": kwargs.get("pipeline_run_id"),
    }
    if switch(kwargs, "preview", False):
        return _preview(client, Request.parse(asked))
    recorded = words(kwargs, "run")
    try:
        if previous:
            run = _submit(client, _retry(client, asked, previous, key))
        elif RUN_ID.fullmatch(recorded):
            # Asked for by the API or the tool; this pipeline run was made for it to be seen here.
            run = client.finished(recorded, _say)
        else:
            run = _submit(client, Request.parse(asked))
        if key and run.state is RunState.CANCELLED and CANCELLED_IN_MAGE in run.detail:
            # Cancelling killed the block before it could note its end; being here again is a retry.
            previous, key = run.id, after(key, run.id)
            run = _submit(client, _retry(client, asked, previous, key))
    except NothingLeft as error:
        _say(str(error))  # another run has repaired it meanwhile: all is well
        if previous:
            finished(kwargs, key, previous, previous)
        return pd.DataFrame()
    except Conflict as error:
        if asked["cause"] is not Cause.SCHEDULE:
            raise
        _say(str(error))  # Mage fired when no morning is due; nothing runs, and that is right
        return pd.DataFrame()
    _say(f'Run {run.id} on {run.commit[:7]} "{run.commit_subject}" (dbt {run.dbt_version})')
    if door := OTHER_DOORS.get(run.cause):
        _say(f"Asked for by {run.caller}, {door}. Why: {run.why or 'not said'}")
    if run.follows and not previous:  # a retry has said so
        _say(f"It runs again what did not pass in run {run.follows}.")
    run = report.follow(client, run.id, _say)
    frame = pd.DataFrame(report.rows(run.nodes), columns=COLUMNS)
    if run.state is RunState.SUCCESS:
        finished(kwargs, key, previous, run.id)
        return frame
    store_output(kwargs, frame)
    finished(kwargs, key, previous, run.id, report.failure(run))
    kind = RunCancelled if run.state is RunState.CANCELLED else RunFailed
    raise kind(report.failure(run))


def _submit(client: RunnerClient, request: Request) -> Run:
    """With a key asking again is safe, so a runner that is away is waited for."""
    if request.waits_for_commit:
        _say(report.WAITS_FOR_COMMIT)
    return client.submit_patiently(request, _say) if request.key else client.submit(request)


def _retry(
    client: RunnerClient, asked: Mapping[str, Any], previous: str, key: str | None
) -> Request:
    """Keeps a version that was asked for by name; else the newest, which may hold the repair."""
    _say(f"Retry: what did not pass in run {previous} runs again.")
    kept = {name: asked[name] for name in ("why", "caller", "mage_run")}
    commit = client.finished(previous, _say).request.get("commit", "")
    rerun = {"operation": Operation.RERUN_FAILED, "of": previous, "commit": commit}
    return Request.parse({**kept, **rerun, "cause": Cause.FORM, "key": key})


def _preview(client: RunnerClient, request: Request) -> pd.DataFrame:
    plan = client.plan(request)
    commit, count = plan["commit"][:7], len(plan["nodes"])
    _say(f"Preview: nothing is changed. On {commit}, {count} models and tests would run:")
    found = report.plan_rows(plan)
    for line in (*report.plan_lines(plan), *report.columns(found)):
        _say(line)
    return pd.DataFrame(found)


def _say(text: str) -> None:
    """One log row a line: Mage makes a row of each argument of print."""
    for line in text.splitlines():
        if line.strip():
            print(line)


def _cause(kwargs: Mapping[str, Any]) -> Cause:
    if kwargs.get("trigger_name") == DAILY_TRIGGER:
        return Cause.SCHEDULE
    return Cause.START if kwargs.get("cause") == Cause.START else Cause.FORM


def _caller(kwargs: Mapping[str, Any]) -> str:
    """With a login on, the person who began it in Mage; Mage itself tells only the trigger."""
    trigger = kwargs.get("trigger_name")
    asked_by = words(kwargs, "asked_by")
    return asked_by or (f"Mage, trigger {trigger}" if trigger else "Mage, notebook")


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
