"""`mage-dbt`: the command-line tool. Each verb speaks to the runner; `--json` prints plain data."""

from __future__ import annotations

import argparse
import getpass
import itertools
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import yaml

from mage_dbt import report
from mage_dbt.alerts import trial
from mage_dbt.client import RunnerClient
from mage_dbt.clock import Clock
from mage_dbt.command import COMMANDS
from mage_dbt.errors import BadVariable, RunnerUnreachable, WorkspaceError, did_you_mean
from mage_dbt.home import Home
from mage_dbt.parse_warnings import ParseWarnings
from mage_dbt.request import Cause, Operation, Request
from mage_dbt.run import LONGEST_TITLE, PASSED, RUN_ID, Run, RunState
from mage_dbt.settings import Settings
from mage_dbt.windows import END_FLAG, START_FLAG

EXAMPLES = """examples:
  mage-dbt plan --select fct_orders+            what would run, changing nothing
  mage-dbt run --select fct_orders --why "late data"
  mage-dbt run full_refresh --select fct_orders+ --why "new column"
  mage-dbt run rerun_failed --why "fct_orders is repaired"      of the last full build
  mage-dbt run rerun_failed --of 20261123-080000-4f2a9c --commit same
  mage-dbt plan --select fct_orders+ --commit v1.2
  mage-dbt run --model page_views --event-time-start 2026-01-01 --event-time-end 2026-02-01
  mage-dbt run command --command "test --select tag:daily"
  mage-dbt status
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 a run did not succeed, 2 what was asked is refused."""
    options = _parser().parse_args(arguments)
    # What a service would log, the tool says itself, once.
    logging.getLogger("mage_dbt").addHandler(logging.NullHandler())
    try:
        settings = Settings.load()
        client = RunnerClient(Home(settings.workspace_home).runner_socket)
        options.clock = Clock(ZoneInfo(settings.daily_build_timezone))
        return int(options.verb(client, options))
    except WorkspaceError as error:
        if options.json:
            print(json.dumps({"error": error.message, "hint": error.hint}))
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nNo longer watching; the run goes on.", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """argparse, whose refusals name what was meant. Exit status 2, as for all that is refused."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is None:  # of a verb
            for word in itertools.takewhile(lambda one: one != "--", args or ()):
                if " " not in word:  # which argparse takes for a value
                    self._refuse_unknown(word.partition("=")[0])
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self, flag: str) -> None:
        known = [one for one in self._option_string_actions if one.startswith("--")]
        # argparse takes the beginning of a flag for the flag, and a number for a value.
        if not re.match(r"-[^\d.]", flag) or any(one.startswith(flag) for one in known):
            return
        if flag not in self._option_string_actions:
            known.remove("--help")
            hint = FLAGS.get(flag) or did_you_mean(flag, known) or f"It knows {', '.join(known)}."
            self.error(f"{self.prog} knows no {flag}. {hint}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, more = self.parse_known_args(args, namespace)
        if more:
            where = "--of" if RUN_ID.fullmatch(more[0]) else "--select"
            hint = f" Is it for {where}?" if hasattr(options, "of") else ""
            options.parser.error(f"{more[0]!r} is a word too many.{hint}")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(one) for one in action.choices or ()]
        if action.choices is None or value in known:
            return
        hint = did_you_mean(str(value), known)
        what = str(action.metavar or action.dest).lower()
        if what == "operation":
            hint = hint or f"Are these models? --select {shlex.quote(value)}."
        elif value in COMMANDS:
            hint = (
                f"dbt's own command is: mage-dbt run command --command {shlex.quote(value)}, and "
                "each variable by itself: --var NAME=VALUE."
            )
        hint = hint or f"There is {', '.join(known)}."
        self.error(f"There is no {what} {value!r}. {hint}")

    def error(self, message: str) -> NoReturn:
        message = re.sub("^the following arguments are required: (.+)$", r"\1 is missing.", message)
        message = message.removeprefix("argument ")
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"{message}{end} See {self.prog} --help.\n")


FLAGS = {
    "--vars": "Each variable by itself: --var NAME=VALUE.",
    "--models": "Did you mean --select, or --model for one by its name?",
    "-s": "Did you mean --select?",
    "-m": "Did you mean --model?",
    "--full-refresh": "That is an operation: mage-dbt run full_refresh --select MODELS.",
    "--fail-fast": 'Within a command: --command "build --fail-fast".',
    "--selector": 'Within a command: --command "build --selector NAME".',
    "--target": "The target is the setting DBT_TARGET.",
}
"""dbt's flags, which people know, and what is asked for here in their place."""


def _named(value: str) -> str:
    """What is empty is a variable of a script that was not set, and would mean everything."""
    if not value.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the flag out for everything")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mage-dbt",
        description="Plan, run and watch dbt-metric in this workspace.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Callable[[RunnerClient, Any], int], what: str) -> Any:
        one = verbs.add_parser(
            name,
            help=what,
            description=what,
            epilog=EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--json", action="store_true", help="print plain data for a program")
        one.set_defaults(verb=verb, parser=one)
        return one

    for name, verb, what in (
        (
            "plan",
            _plan,
            "Show what would run, in order: why each node, how long, what it writes and drops. "
            "Changes nothing.",
        ),
        ("run", _start, "Run now, watch it, and show what became of each node."),
    ):
        one = add(name, verb, what)
        one.add_argument(
            "operation",
            nargs="?",
            default="build",
            choices=[str(one) for one in Operation],
            help="build (default): run and test; full_refresh: rebuild all rows of incremental "
            "models; rerun_failed: what did not pass in --of, and what depends on it; command: a "
            "dbt command",
        )
        one.add_argument(
            "--select",
            type=_named,
            metavar="MODELS",
            help="models by name; NAME+ adds what depends on it, +NAME what it reads; quote "
            "several: --select 'fct_orders dim_customers'. Without it: everything",
        )
        one.add_argument("--exclude", type=_named, metavar="MODELS", help="models to leave out")
        one.add_argument(
            "--model",
            action="append",
            default=[],
            metavar="NAME",
            help="instead of --select: this one model and its tests, even where a folder has its "
            "name too; may be given again",
        )
        for flag, what in ((START_FLAG, "from this time on"), (END_FLAG, "before this time")):
            one.add_argument(
                flag,
                metavar="TIME",
                help=f"for `build`: microbatch models build the batches {what} (UTC), such as "
                "2026-01-31 or 2026-01-31T08:00:00; give both",
            )
        one.add_argument(
            "--var",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a dbt variable; may be given again",
        )
        one.add_argument("--command", metavar="TEXT", help="for `command`: as typed after dbt")
        one.add_argument(
            "--of",
            metavar="RUN",
            help="for `rerun_failed`: the run that failed. Without it: the last build of "
            "everything, whoever began it",
        )
        one.add_argument(
            "--commit",
            metavar="SHA",
            help="a merged commit (7 digits or more) or a tag; `same` for that of --of. Without "
            "it: the newest that is ready",
        )
        one.add_argument(
            "--wait-for-commit",
            action=argparse.BooleanOptionalAction,
            help="wait up to two minutes for a newer commit that is being made ready; "
            "`rerun_failed` does, unless it names a commit",
        )
        one.add_argument("--why", metavar="TEXT", help="the reason, kept in the history")
    one.add_argument(
        "--digest",
        metavar="HEX",
        help="as `plan` printed it: run only if that very plan would run, else say what changed",
    )
    one.add_argument("--key", metavar="TEXT", help="the same key is the same run, however often")
    one.add_argument("--no-wait", action="store_true", help="do not wait for its end")

    add("runs", _runs, "List the newest runs.").add_argument(
        "--limit", type=int, default=20, metavar="N", help="how many (20)"
    )
    add(
        "show", _show, "Show a run: who, why, on which commit, each node, and its reruns."
    ).add_argument("run", metavar="RUN", help="the run's id, as `mage-dbt runs` lists it")
    add("cancel", _cancel, "Stop a run and its SQL.").add_argument("run", metavar="RUN")
    add("alert-test", _alert_test, "Send a test message on each channel that alerts go out on.")
    add("status", _status, "Show the live commit, what is broken, what runs or waits, and when.")
    return parser


def _request(options: Any) -> Request:
    return Request.parse(
        {
            "operation": options.operation,
            "select": options.select,
            "exclude": options.exclude,
            "models": options.model,
            "event_time_start": options.event_time_start or "",
            "event_time_end": options.event_time_end or "",
            "variables": dict(_variable(one) for one in options.var),
            "command": options.command or "",
            "of": options.of or "",
            "commit": options.commit or "",
            "wait_for_commit": options.wait_for_commit,
            "digest": getattr(options, "digest", None) or "",
            "why": options.why or "",
            "key": f"tool:{options.key}" if getattr(options, "key", None) else "",
            "cause": Cause.TOOL,
            "caller": getpass.getuser(),
        }
    )


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadVariable(f"--var {text!r} is not NAME=VALUE.", "For example --var days=7.")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        return name.strip(), value
    except (ValueError, OverflowError, RecursionError) as error:
        # What looks like a date and is none: dbt does not read it either.
        raise BadVariable(
            f"--var {text!r} cannot be read: {error}.", f"As a text: --var '{name}=\"…\"'."
        ) from None


def _plan(client: RunnerClient, options: Any) -> int:
    request = _request(options)
    _say_that_it_waits(request)
    plan = client.plan(request)
    if options.json:
        return _print_json(plan)
    told = report.planned(plan["nodes"], plan["counted"], plan["hooks"])
    print(f"{told} at {plan['commit'][:7]}; nothing is changed by looking.\n")
    _print(report.columns(report.plan_rows(plan)))
    print()
    _print(report.plan_lines(plan))
    print(f"digest    {plan['digest']}")
    return 0


def _start(client: RunnerClient, options: Any) -> int:
    def say(text: str, level: int = logging.INFO) -> None:
        print(text, file=sys.stderr if options.json else sys.stdout, flush=True)

    request = _request(options)
    _say_that_it_waits(request)
    run = client.submit(request)
    say(f'Run {run.id} on {run.commit[:7]} "{run.commit_subject}" (dbt {run.dbt_version})')
    if not options.no_wait:
        run = report.follow(client, run.id, say)
    if options.json:
        _print_json(run.to_json())
    return 0 if options.no_wait or run.state is RunState.SUCCESS else 1


def _say_that_it_waits(request: Request) -> None:
    if request.waits_for_commit:
        print(report.WAITS_FOR_COMMIT, file=sys.stderr)


def _runs(client: RunnerClient, options: Any) -> int:
    runs = client.runs(options.limit)
    if options.json:
        return _print_json([one.summary() for one in runs])
    _print(
        report.columns([_run_row(one, options.clock) for one in runs]) if runs else ["No run yet."]
    )
    return 0


def _run_row(run: Run, clock: Clock) -> dict[str, Any]:
    counts = run.counts()
    wrong = sum(count for status, count in counts.items() if status not in PASSED)
    return {
        "run": run.id,
        "state": run.state,
        "what": _short(_what(run)),
        "nodes": run.planned_nodes,
        "not passed": wrong or "",
        "seconds": None if run.seconds is None else round(run.seconds, 1),
        "commit": run.commit[:7],
        "by": run.caller,
        "asked": clock.say_in_full(run.asked_at),
    }


def _short(text: str) -> str:
    """In a list; `show` has all of it."""
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def _what(run: Run) -> str:
    asked = run.request
    return " ".join([run.operation, *asked["select"], *asked.get("models", ())])


def _show(client: RunnerClient, options: Any) -> int:
    run = client.run(options.run)
    story = client.story(options.run)
    if options.json:
        return _print_json(run.to_json() | {"story": story})
    facts = {
        "run": run.id,
        "operation": _what(run),
        "asked": f"{options.clock.say_in_full(run.asked_at)} by {run.caller} ({run.cause})",
        "why": run.why,
        "commit": f'{run.commit[:7]} "{run.commit_subject}"',
        "dbt": f"{run.dbt_version}, target {run.target}",
        "Mage run": run.mage_run,
        "reruns": run.follows,
    }
    _print(f"{name:<10}{value}" for name, value in facts.items() if value)
    _print(f"warning   {text}" for text in run.warnings)
    _print(f"note      {text}" for text in run.notes)
    if len(story) > 1:
        _print(f"{'story' if first else '':<10}{text}" for first, text in _chapters(story))
    _print(report.summary(run))
    return 0


def _chapters(story: Sequence[dict[str, Any]]) -> Iterator[tuple[bool, str]]:
    return ((one is story[0], one["text"]) for one in story)


def _cancel(client: RunnerClient, options: Any) -> int:
    run = client.cancel(options.run, f"{getpass.getuser()} with mage-dbt")
    if options.json:
        return _print_json(run.to_json())
    print(f"{report.headline(run)}\n{run.detail}")
    return 0


def _status(client: RunnerClient, options: Any) -> int:
    try:
        status = client.status()
    except RunnerUnreachable as error:
        if options.json:
            _print_json({"runner": "not answering", "error": str(error)})
        else:
            print(f"runner    not answering\n{error}")
        return 2
    if options.json:
        return _print_json(status)
    _print(_status_lines(status, options.clock))
    return 0


def _status_lines(status: dict[str, Any], clock: Clock) -> Iterator[str]:
    live, broken, sync = status["live"], status["broken"], status["sync"] or {}
    if live:
        yield f'live      {live["sha"][:7]} "{live["subject"]}" by {live["author"]}'
        yield f"holds     {live['holds']}"
        if live["behind"]:
            yield f"          {report.commits(live['behind'])} behind the repository"
        yield f"dbt       {live['dbt_version']} on {live['adapter']}, target {live['target']}"
        yield from (f"note      {text}" for text in live["notes"])
        yield from _parse_warning_lines(live["parse_warnings"])
    else:
        yield "live      no commit is ready"
    if status["preparing"]:
        yield f"parsing   {status['preparing'][:7]}"
    if broken:
        since = clock.say_in_full(datetime.fromtimestamp(broken["since"], UTC))
        word, by = ("not ready", "") if broken["by_machine"] else ("broken", broken["author"])
        yield (
            f'{word:<9} {broken["sha"][:7]} "{broken["subject"]}"{by and f" by {by}"}, '
            f"since {since}"
        )
        yield f"          {broken['message']}"
        yield f"          {broken['hint']}"
    elif last := status["last_broken"]:
        at = clock.say_in_full(datetime.fromisoformat(last["at"]))
        yield f'repaired  {last["sha"][:7]} "{last["subject"]}" was broken on {at}'
    if status["ledger_error"]:
        yield f"ledger    {status['ledger_error']}"
    if sync.get("error"):
        yield f"git       {sync['error']}"
    morning = datetime.fromisoformat(status["next_morning"])
    yield f"morning   next build {clock.say_with_zone(morning)}"
    for run in status["active_runs"]:
        yield f"{str(run.get('state', 'running')).lower():<10}{_going_on(run, clock)}"
    if not status["active_runs"]:
        yield "running   nothing"
    for line in [*status["alerts"]["told"], *status["alerts"]["problems"]]:
        yield f"alerts    {line}"
    for process in status["processes"] or ():
        yield f"process   {process['name']:<10} {process['state']} (pid {process['pid']})"


def _parse_warning_lines(told: dict[str, Any]) -> Iterator[str]:
    warnings = ParseWarnings.from_json(told)
    if warnings.total:
        yield f"dbt       {warnings.headline()}"
    yield from (f"          {text}" for text in warnings.lines())


def _alert_test(client: RunnerClient, options: Any) -> int:
    settings = Settings.load()
    tried = trial.send(settings, Home(settings.workspace_home))
    if options.json:
        _print_json([vars(one) for one in tried])
    else:
        _print(f"{one.channel}: {one.problem or 'delivered'}" for one in tried)
    return 1 if any(one.problem for one in tried) else 0


def _going_on(run: dict[str, Any], clock: Clock) -> str:
    if "title" not in run:  # the ledger is away
        return str(run["run"])
    since = clock.say_in_full(datetime.fromisoformat(run["since"]))
    told = f"{run['title']}, run {run['run']}, since {since}, asked for by {run['caller']}"
    return f"{told}: {run['detail']}" if run["detail"] else told


def _print(lines: Any) -> None:
    for line in lines:
        print(line)


def _print_json(data: Any) -> int:
    print(json.dumps(data, indent=2, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
