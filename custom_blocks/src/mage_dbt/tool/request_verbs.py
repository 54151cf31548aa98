"""The verbs that send a request: `plan` and `run`; and `cancel` and `swap`, which decide a run."""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from typing import Any

import yaml

from mage_dbt.base.text import printable
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client import report
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import BadVariable
from mage_dbt.model.refresh import OVERRIDABLE
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import RunState
from mage_dbt.model.windows import END_FLAG, START_FLAG
from mage_dbt.tool.parser import Parser, Verbs
from mage_dbt.tool.printing import print_json, print_lines


def add_to(verbs: Verbs) -> None:
    """Adds the verbs."""
    plan = verbs.add(
        "plan",
        _plan,
        "Show what would run, in order: why each node, how long, what it writes and drops. "
        "Changes nothing.",
    )
    run = verbs.add("run", _run, "Run now, watch it, and show what became of each node.")
    for parser in (plan, run):
        _add_request_flags(parser)
    run.add_argument(
        "--digest",
        metavar="HEX",
        help="as `plan` printed it: run only if that very plan would run, else say what changed",
    )
    run.add_argument("--key", metavar="TEXT", help="the same key is the same run, however often")
    run.add_argument("--no-wait", action="store_true", help="do not wait for its end")
    verbs.add("cancel", _cancel, "Stop a run and its SQL.").add_argument("run", metavar="RUN")
    verbs.add(
        "swap", _swap, "Let a refresh swap that was asked for with --show-first, and waits."
    ).add_argument("run", metavar="RUN")


def _add_request_flags(parser: Parser) -> None:
    parser.add_argument(
        "operation",
        nargs="?",
        default="build",
        choices=[str(operation) for operation in Operation],
        help="build (default): run and test; full_refresh: rebuild all rows of incremental "
        "models and tables, aside, and swap them in; undo_refresh MODEL…: bring back what a "
        "refresh replaced; rerun_failed: what did not pass in --of, and what depends on it; "
        "command: a dbt command",
    )
    parser.add_argument(
        "--select",
        type=_not_empty,
        metavar="MODELS",
        help="models by name; NAME+ adds what depends on it, +NAME what it reads; quote "
        "several: --select 'fct_orders dim_customers'. Without it: everything",
    )
    parser.add_argument("--exclude", type=_not_empty, metavar="MODELS", help="models to leave out")
    parser.add_argument(
        "--model",
        type=_not_empty,
        action="append",
        default=[],
        metavar="NAME",
        help="instead of --select: this one model and its tests, even where a folder has its "
        "name too; may be given again",
    )
    for flag, what in ((START_FLAG, "from this time on"), (END_FLAG, "before this time")):
        parser.add_argument(
            flag,
            metavar="TIME",
            help=f"for `build`: microbatch models build the batches {what} (UTC), such as "
            "2026-01-31 or 2026-01-31T08:00:00; give both",
        )
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a dbt variable; may be given again",
    )
    parser.add_argument("--command", metavar="TEXT", help="for `command`: as typed after dbt")
    parser.add_argument(
        "--of",
        metavar="RUN",
        help="for `rerun_failed`: the run that failed. Without it: the last build of "
        "everything, whoever began it",
    )
    parser.add_argument(
        "--commit",
        metavar="SHA",
        help="a merged commit (7 digits or more) or a tag; `same` for that of --of. Without "
        "it: the newest that is ready",
    )
    parser.add_argument(
        "--wait-for-commit",
        action=argparse.BooleanOptionalAction,
        help="wait up to two minutes for a newer commit that is being made ready; "
        "`rerun_failed` does, unless it names a commit",
    )
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="for `full_refresh`: drop and rebuild as dbt does, which cannot be undone",
    )
    parser.add_argument(
        "--show-first",
        action="store_true",
        help="for `full_refresh`: stop after the comparison, until `swap RUN` or `cancel RUN`",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="CHECK",
        help=f"for `full_refresh` and `undo_refresh`, with --why: go on although this check "
        f"fails, one of {', '.join(OVERRIDABLE)}; may be given again",
    )
    parser.add_argument("--why", metavar="TEXT", help="the reason, kept in the history")


def _not_empty(value: str) -> str:
    """An empty value is a variable that a script did not set, and would mean everything."""
    if not value.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the flag out for everything")
    return value


def parse_request(options: Any) -> Request:
    """The request on a command line of `plan` or `run`. Raises RequestError."""
    return Request.parse(
        {
            "operation": options.operation,
            "select": options.select,
            "exclude": (options.exclude or "").split(),
            "models": options.model or None,
            "event_time_start": options.event_time_start or "",
            "event_time_end": options.event_time_end or "",
            "variables": dict(_variable(text) for text in options.var),
            "command": options.command or "",
            "of": options.of or "",
            "commit": options.commit or "",
            "wait_for_commit": options.wait_for_commit,
            "digest": getattr(options, "digest", None) or "",
            "in_place": options.in_place,
            "show_first": options.show_first,
            "override": options.override,
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
        # It looks like a date and is none; dbt does not read it either.
        raise BadVariable(
            f"--var {text!r} cannot be read: {error}.", f"As a text: --var '{name}=\"…\"'."
        ) from None


def _plan(client: RunnerClient, options: Any) -> int:
    request = parse_request(options)
    _announce_wait(request)
    plan = client.plan(request)
    if options.json:
        return print_json(plan.to_json())
    counts = report.planned(plan.nodes, plan.counted, plan.hooks)
    print(f"{counts} at {plan.commit[:7]}; nothing is changed by looking.\n")
    print_lines(report.columns(report.plan_rows(plan)))
    print()
    print_lines(report.plan_lines(plan))
    print(f"digest    {plan.digest}")
    return 0


def _run(client: RunnerClient, options: Any) -> int:
    def say(text: str, level: int = logging.INFO) -> None:
        print(printable(text), file=sys.stderr if options.json else sys.stdout, flush=True)

    request = parse_request(options)
    _announce_wait(request)
    run = client.submit(request)
    say(f'Run {run.id} on {run.commit[:7]} "{run.commit_subject}" (dbt {run.dbt_version})')
    if not options.no_wait:
        run = report.follow(client, run.id, say)
    say(f"Its page: {options.page}/runs/{run.id}")
    if options.json:
        print_json(run.to_json())
    return 0 if options.no_wait or run.state is RunState.SUCCESS else 1


def _announce_wait(request: Request) -> None:
    if request.waits_for_commit:
        print(report.WAITS_FOR_COMMIT, file=sys.stderr)


def _cancel(client: RunnerClient, options: Any) -> int:
    run = client.cancel(options.run, f"{getpass.getuser()} with mage-dbt")
    if options.json:
        return print_json(run.to_json())
    print(f"{report.headline(run)}\n{run.detail}")
    return 0


def _swap(client: RunnerClient, options: Any) -> int:
    run = client.swap(options.run, f"{getpass.getuser()} with mage-dbt")
    if options.json:
        return print_json(run.to_json())
    print(f"Run {run.id} goes on to its swap. To see how it went: {tool_command(f'show {run.id}')}")
    return 0
