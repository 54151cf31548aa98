"""The verbs that show runs of the past: `runs` and `show`."""

from __future__ import annotations

from typing import Any

from mage_dbt.base.clock import Clock
from mage_dbt.base.tool_command import tool_command
from mage_dbt.client import explanation_lines, refresh_lines, report
from mage_dbt.client.client import RunnerClient
from mage_dbt.model.run import LONGEST_TITLE, PASSED, Run
from mage_dbt.tool.parser import Verbs
from mage_dbt.tool.printing import print_json, print_lines


def add_to(verbs: Verbs) -> None:
    """Adds the verbs."""
    verbs.add("runs", _runs, "List the newest runs.").add_argument(
        "--limit", type=int, default=20, metavar="N", help="how many (20)"
    )
    verbs.add(
        "show",
        _show,
        "Show a run: who, why, on which commit, each cause of failure, each node, and its reruns.",
    ).add_argument("run", metavar="RUN", help=f"the run's id, as `{tool_command('runs')}` lists it")


def _runs(client: RunnerClient, options: Any) -> int:
    runs = client.runs(options.limit)
    if options.json:
        return print_json([run.summary() for run in runs])
    rows = [_row(run, options.clock) for run in runs]
    print_lines(report.columns(rows) if rows else ["No run yet."])
    return 0


def _row(run: Run, clock: Clock) -> dict[str, Any]:
    not_passed = sum(count for status, count in run.counts().items() if status not in PASSED)
    return {
        "run": run.id,
        "state": run.state,
        "what": _shortened(_what(run)),
        "nodes": run.planned_nodes,
        "not passed": not_passed or "",
        "seconds": None if run.seconds is None else round(run.seconds, 1),
        "commit": run.commit[:7],
        "by": run.caller,
        "asked": clock.say_in_full(run.asked_at),
    }


def _shortened(text: str) -> str:
    """For a list; `show` has the whole text."""
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def _what(run: Run) -> str:
    return " ".join([run.operation, *run.request.select, *run.request.models])


def _show(client: RunnerClient, options: Any) -> int:
    run = client.run(options.run)
    story = client.story(options.run)
    explanation = client.explanation(options.run)
    if options.json:
        more = {"story": [chapter.to_json() for chapter in story]}
        return print_json(run.to_json() | more | {"explanation": explanation.to_json()})
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
    print_lines(f"{name:<10}{value}" for name, value in facts.items() if value)
    print_lines(f"warning   {text}" for text in run.warnings)
    print_lines(f"note      {text}" for text in run.notes)
    if len(story) > 1:
        labels = ["story", *("" for _ in story[1:])]
        print_lines(
            f"{label:<10}{chapter.text}" for label, chapter in zip(labels, story, strict=True)
        )
    print_lines(explanation_lines.causes_of(explanation, options.clock))
    print_lines(report.summary(run))
    print_lines(
        f"refresh   {text}" for text in refresh_lines.over_lines(run.refresh, run.id, options.clock)
    )
    print(f"page      {options.page}/runs/{run.id}")
    return 0
