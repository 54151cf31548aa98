"""The messages: five lines of plain text that read well on a phone's lock screen.

Nothing here looks anything up; what dbt, git and people wrote comes in as data and leaves as one
line of text in which no channel finds a mention, a control character or a secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from zoneinfo import ZoneInfo

from mage_dbt.alerts.last_change import Change
from mage_dbt.clock import Clock
from mage_dbt.counts import number
from mage_dbt.folded import by_cause
from mage_dbt.reason import first_line
from mage_dbt.redaction import scrub, without_credentials
from mage_dbt.run import NodeResult, Run, RunState

LONGEST_TITLE = 80
"""Characters; what a lock screen shows."""

LONGEST_REASON = 400
LONGEST_NAME = 60
LONGEST_WORDS = 120
"""Of dbt's reason, of a node's or person's name, and of what a person wrote."""

NAMES_SHOWN = 5

CAUSES_SHOWN = 3
SKIPPED_SHOWN = 3
"""Of what kept nodes from running, and of those nodes; more are counted."""
WARNINGS_SHOWN = 2
LONGEST_WARNINGS = 400
"""Of dbt's warnings while parsing: how many, and characters of all."""


class Kind(StrEnum):
    """What an alert is about."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    OVERDUE = "overdue"
    BROKEN = "broken"


@dataclass(frozen=True)
class Message:
    """One message. The title is at most LONGEST_TITLE characters and carries the fact."""

    kind: Kind
    title: str
    body: str


def failure(
    run: Run,
    root: Run,
    change: Change | None,
    changed: str,
    link: str,
    zone: ZoneInfo,
    before: Run | None = None,
) -> Message:
    """A run failed. `root` is the run it goes back to (itself unless it is a rerun), `change` the
    last commit that touched the node `changed`, `link` its page in Mage or empty, `before` the run
    that was told last when the same nodes failed in it."""
    failed = [one.name for one in run.failed]
    ended = "was cut off" if run.state is RunState.CANCELLED else "failed"
    title = f"{_called(run, root)} {ended}"
    if failed:
        title += f": {_named(failed, 1)}"
    when = Clock(zone).say_with_zone(run.finished_at or run.asked_at)
    what = f"{_named(failed, NAMES_SHOWN)} ({len(failed)} of {run.nodes_in_all} nodes)"
    again = ""
    if before is not None:
        again = f", as {Clock(zone).say_with_zone(before.finished_at or before.asked_at)}"
    lines = [
        f"Failed: {what if failed else 'before any node ran'}, {when}{again}",
        f"Why: {_why(run)}",
        f"Skipped: {_skipped(run)}",
        f"Last changed: {_changed(change, changed, zone)}",
        *_dbt_warns(run),
        f"Rerun: ./scripts/mage-dbt run rerun_failed --of {run.id}{f'  {link}' if link else ''}",
    ]
    return _message(Kind.FAILURE, title, lines)


def recovery(run: Run, root: Run, how: str, author: str, link: str, zone: ZoneInfo) -> Message:
    """What first failed in the run `root` is right again since `run`, whose commit is by
    `author`; `how` says what `run` is to it."""
    begun, over = root.finished_at or root.asked_at, run.finished_at or run.asked_at
    lines = [
        f"Failed {Clock(zone).say_with_zone(begun)},"
        f" fixed {Clock(zone, beside=begun).say_with_zone(over)}",
        f"By: {_who(run)}",
        _with_commit(run, author),
        f"How: {how}, {number(one.kind for one in run.nodes if one.passed)} nodes passed",
        *_dbt_warns(run),
        f"See: ./scripts/mage-dbt show {run.id}{f'  {link}' if link else ''}",
    ]
    return _message(Kind.RECOVERY, f"Fixed: {_lower(_called(root, root))}", lines)


def overdue(
    day: date,
    over_by: str,
    stand: str,
    reason: str,
    link: str,
    run: str | None = None,
    goes_on: bool = True,
) -> Message:
    """The daily build of `day` is not over at the time it should be; `stand` says how far it is,
    `reason` why, `run` is its id when it has begun, `goes_on` whether an end is to come."""
    if run is None or not goes_on:
        hint = f'Begin it by hand: ./scripts/mage-dbt run --why "daily build of {day}"'
    else:
        hint = "Its end is told too."
    lines = [
        f"At {over_by} the build of {day} {stand}.",
        f"Why: {one_line(reason, LONGEST_REASON) or 'it began late, or takes longer than usual'}",
        f"Look: ./scripts/mage-dbt {f'show {run}' if run else 'status'}",
        hint,
        *([link] if link else []),
    ]
    return _message(Kind.OVERDUE, f"Daily build of {day} {stand} (at {over_by})", lines)


def done_after_all(run: Run, day: str, over_by: str, link: str, zone: ZoneInfo) -> Message:
    """The build of `day`, which was told as overdue, is done."""
    over = run.finished_at or run.asked_at
    lines = [
        f"Not over at {over_by}, done {Clock(zone).say_with_zone(over)}",
        f"Run {run.id} by {_caller(run)}: {run.nodes_in_all} nodes passed",
        *_dbt_warns(run),
        *([link] if link else []),
    ]
    return _message(Kind.RECOVERY, f"Done after all: daily build of {day}", lines)


def broken(sha: str, subject: str, author: str, reason: str, live: str) -> Message:
    """The newest commit does not parse, and stays so."""
    lines = [
        f'Broken: {sha[:7]} "{one_line(subject, LONGEST_WORDS)}"',
        f"Why: {one_line(first_line(reason), LONGEST_REASON)}",
        f"By: {one_line(author, LONGEST_NAME)}",
        f"Runs use {live[:7]} until it is repaired." if live else "No commit can be built.",
        "Push a commit that repairs it; ./scripts/mage-dbt status says when it is live.",
    ]
    return _message(Kind.BROKEN, f"main is broken at {sha[:7]} by {one_line(author, 30)}", lines)


def not_ready(sha: str, subject: str, reason: str, live: str) -> Message:
    """This machine cannot make the newest commit ready, and nobody's change is to blame."""
    lines = [
        f'Not ready: {sha[:7]} "{one_line(subject, LONGEST_WORDS)}"',
        f"Why: {one_line(reason, LONGEST_REASON)}",
        f"Runs use {live[:7]} until then." if live else "No commit can be built.",
        "It is tried again, at least every minute; ./scripts/mage-dbt status says when it is live.",
    ]
    return _message(Kind.BROKEN, f"{sha[:7]} cannot be made ready on this machine", lines)


def repaired(broken_shas: Sequence[str], sha: str, subject: str, author: str) -> Message:
    """main parses again; `broken_shas` were told as broken."""
    names = " and ".join(one[:7] for one in broken_shas)
    lines = [
        f'{sha[:7]} "{one_line(subject, LONGEST_WORDS)}" by {one_line(author, LONGEST_NAME)}',
        f"is live; {names} {'was' if len(broken_shas) == 1 else 'were'} broken.",
    ]
    return _message(Kind.RECOVERY, f"main is whole again at {sha[:7]}", lines)


def trial(machine: str) -> Message:
    """What `mage-dbt alert-test` sends."""
    body = f"A test from {one_line(machine, LONGEST_NAME)}. Failures of the daily build come here."
    return Message(Kind.RECOVERY, "mage-dbt: this channel works", body)


def one_line(text: str, longest: int) -> str:
    """As `harmless`, of free text: what this process knows to be secret becomes stars."""
    return harmless(scrub(without_credentials(text)), longest)


def harmless(text: str, longest: int) -> str:
    """`text` as one line of at most `longest` characters that no channel acts on.

    Control and invisible characters go; a mention (@channel, <!here>) or a tag is kept readable
    and is none any more. For names of nodes: a secret that is part of one must not change it.
    """
    text = " ".join(text.split())
    text = "".join(one for one in text if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co"))
    text = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    # By a zero-width space, so that it still reads as it was written. Apprise escapes text for
    # HTML and markdown, but leaves `<` alone in markdown, and mentions everywhere.
    return re.sub(r"@(?=\w)|<(?=[A-Za-z/!?@#])", "\\g<0>\u200b", text)


def first_failed(run: Run) -> NodeResult | None:
    """The node that failed first; None when the run failed before its first node."""
    return next(iter(run.failed), None)


def _message(kind: Kind, title: str, lines: Sequence[str]) -> Message:
    title = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
    return Message(kind, title, "\n".join(lines))


def _called(run: Run, root: Run) -> str:
    """What people call a run: the daily build of a date, or whose it is."""
    whose = f"Daily build of {root.morning}" if root.morning else f"Run by {_caller(root)}"
    return whose if run.id == root.id else f"Rerun of {_lower(whose)}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _caller(run: Run) -> str:
    return one_line(run.caller, 30)


def _who(run: Run) -> str:
    why = f': "{one_line(run.why, LONGEST_WORDS)}"' if run.why else ""
    return f"{_caller(run)} ({run.cause}){why}"


def _with_commit(run: Run, author: str) -> str:
    by = f" by {one_line(author, LONGEST_NAME)}" if author else ""
    return f'With: {run.commit[:7]} "{one_line(run.commit_subject, LONGEST_WORDS)}"{by}'


def _why(run: Run) -> str:
    first = first_failed(run)
    words = first_line(first.message) if first else ""
    return one_line(words or run.detail, LONGEST_REASON) or "dbt gave no reason."


def _skipped(run: Run) -> str:
    """`48 because of fct_orders: a, b and 46 more; 2 because of dim: c, d`."""
    causes = []
    for one in by_cause(run.nodes):
        cause = f" because of {harmless(one.because, LONGEST_NAME)}" if one.because else ""
        causes.append(f"{len(one.nodes)}{cause}: {_named(one.names, SKIPPED_SHOWN)}")
    more = len(causes) - CAUSES_SHOWN
    told = "; ".join(causes[:CAUSES_SHOWN]) + (f"; and for {more} more causes" if more > 0 else "")
    return told or "nothing"


def _dbt_warns(run: Run) -> list[str]:
    """What dbt warned of while it parsed, new ones first, as one line; none without warnings."""
    headline = run.parse_warnings.headline()
    told = "; ".join(run.parse_warnings.lines(WARNINGS_SHOWN))
    return [f"dbt: {one_line(f'{headline}: {told}', LONGEST_WARNINGS)}"] if headline else []


def _named(names: Sequence[str], shown: int) -> str:
    """`a, b and 3 more`."""
    text = ", ".join(harmless(one, LONGEST_NAME) for one in names[:shown])
    return text + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _changed(change: Change | None, name: str, zone: ZoneInfo) -> str:
    if change is None:
        return (
            f"{harmless(name, LONGEST_NAME)}: git does not know" if name else "no model to ask of"
        )
    when = Clock(zone).say_with_zone(change.at)
    subject = one_line(change.subject, LONGEST_WORDS)
    author = one_line(change.author, LONGEST_NAME)
    return f'{harmless(name, LONGEST_NAME)} by {author}, {when}, "{subject}" ({change.sha[:7]})'
