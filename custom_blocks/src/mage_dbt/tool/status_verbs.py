"""The verbs about the workspace itself: `status` and `alert-test`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mage_dbt.alerts import probe
from mage_dbt.base.clock import Clock
from mage_dbt.client import report
from mage_dbt.client.client import RunnerClient
from mage_dbt.client.now_line import now_line
from mage_dbt.errors import RunnerUnreachable, Unavailable
from mage_dbt.home import Home
from mage_dbt.model.now import MageState
from mage_dbt.model.parse_warnings import ParseWarnings
from mage_dbt.model.run import RunState
from mage_dbt.model.status import ActiveRun, Status
from mage_dbt.settings import Settings
from mage_dbt.tool.parser import Verbs
from mage_dbt.tool.printing import print_json, print_lines

MAGE = {
    MageState.STARTING: "is starting",
    MageState.AWAY: "does not answer; runs work without it, and no daily build begins by itself",
}
"""What is said of it while it does not answer."""


def add_to(verbs: Verbs) -> None:
    """Adds the verbs."""
    verbs.add(
        "alert-test", _alert_test, "Send a test message on each channel that alerts go out on."
    )
    verbs.add(
        "status", _status, "Show the live commit, what is broken, what runs or waits, and when."
    )


def _status(client: RunnerClient, options: Any) -> int:
    try:
        status = client.status()
    except RunnerUnreachable as error:
        if options.json:
            print_json({"runner": "not answering", "error": str(error)})
        else:
            print(f"runner    not answering\n{error}")
        return 2
    if options.json:
        return print_json(status.to_json())
    build = "" if status.ledger_error else _build_line(client, options.clock)
    print_lines(_status_lines(status, options.clock, build))
    return 0


def _build_line(client: RunnerClient, clock: Clock) -> str:
    """How the newest full build stands; empty while the ledger, which knows it, is away."""
    try:
        return now_line(client.now(), clock)
    except Unavailable:
        return ""


def _status_lines(status: Status, clock: Clock, build: str = "") -> Iterator[str]:
    yield from _commit_lines(status, clock)
    if build:
        yield f"build     {build}"
    if status.ledger_error:
        yield f"ledger    {status.ledger_error}"
    if error := (status.sync or {}).get("error"):
        yield f"git       {error}"
    yield from _daily_lines(status, clock)
    if status.mage in MAGE:
        yield f"mage      {MAGE[status.mage]}"
    for run in status.active_runs:
        yield f"{str(run.state or RunState.RUNNING).lower():<10}{_active_run(run, clock)}"
    if not status.active_runs:
        yield "running   nothing"
    if status.survey:
        yield from report.survey_lines(status.survey, clock)
    for line in [*status.alerts.told, *status.alerts.problems]:
        yield f"alerts    {line}"
    for process in status.processes or ():
        yield f"process   {process['name']:<10} {process['state']} (pid {process['pid']})"


def _daily_lines(status: Status, clock: Clock) -> Iterator[str]:
    following = "no build until somebody ends the pause"
    if status.next_morning:
        following = f"next build {clock.say_with_zone(status.next_morning)}"
    now = datetime.now(UTC)
    schedule = status.schedule
    pause = schedule.pause_in_words(now) if schedule else ""
    yield f"daily     {pause}; {following}" if pause else f"daily     {following}"
    if schedule and schedule.settings_at is not None:
        yield f"          every day at {schedule.time_in_words(now)}"


def _commit_lines(status: Status, clock: Clock) -> Iterator[str]:
    if live := status.live:
        yield f'live      {live.sha[:7]} "{live.subject}" by {live.author}'
        yield f"holds     {live.holds}"
        if live.behind:
            yield f"          {report.commits(live.behind)} behind the repository"
        yield f"dbt       {live.dbt_version} on {live.adapter}, target {live.target}"
        yield from (f"note      {text}" for text in live.notes)
        yield from _parse_warning_lines(live.parse_warnings)
    else:
        yield "live      no commit is ready"
    if status.preparing:
        yield f"parsing   {status.preparing[:7]}"
    if broken := status.broken:
        since = clock.say_in_full(datetime.fromtimestamp(broken.since, UTC))
        word, by = ("not ready", "") if broken.by_machine else ("broken", f" by {broken.author}")
        yield f'{word:<9} {broken.sha[:7]} "{broken.subject}"{by}, since {since}'
        yield f"          {broken.message}"
        yield f"          {broken.hint}"
    elif last := status.last_broken:
        at = clock.say_in_full(last.at)
        yield f'repaired  {last.sha[:7]} "{last.subject}" was broken on {at}'


def _parse_warning_lines(warnings: ParseWarnings) -> Iterator[str]:
    if warnings.total:
        yield f"dbt       {warnings.headline()}"
    yield from (f"          {text}" for text in warnings.lines())


def _active_run(run: ActiveRun, clock: Clock) -> str:
    if run.title is None or run.since is None:  # the ledger is away
        return run.run
    since = clock.say_in_full(run.since)
    text = f"{run.title}, run {run.run}, since {since}, asked for by {run.caller}"
    return f"{text}: {run.detail}" if run.detail else text


def _alert_test(client: RunnerClient, options: Any) -> int:
    settings = Settings.load()
    outcomes = probe.send(settings, Home(settings.workspace_home))
    if options.json:
        print_json([vars(outcome) for outcome in outcomes])
    else:
        print_lines(f"{outcome.channel}: {outcome.problem or 'delivered'}" for outcome in outcomes)
    return 1 if any(outcome.problem for outcome in outcomes) else 0
