"""The words of alerts: a few lines of plain text that read well on a phone's lock screen.

These functions look nothing up. What dbt, git and people wrote comes in as data. It leaves as one
line of text without a mention, a control character or a secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import date
from zoneinfo import ZoneInfo

from mage_dbt.alerts.last_change import Change
from mage_dbt.base.clock import Clock
from mage_dbt.base.redaction import scrub, without_credentials
from mage_dbt.base.tool_command import tool_command
from mage_dbt.model.alert import LONGEST_TITLE, Kind, Message
from mage_dbt.model.counts import number
from mage_dbt.model.explanation import UNCHANGED, Explanation
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.folded import by_cause
from mage_dbt.model.reason import first_line
from mage_dbt.model.request import Operation
from mage_dbt.model.run import TITLES, NodeResult, Run, RunState
from mage_dbt.model.survey import ColumnsChanged

LONGEST_REASON = 400
LONGEST_NAME = 60
LONGEST_WORDS = 120
LONGEST_ASKED = 30
"""Characters of dbt's reason, of a name, of a text that a person wrote, and of what was asked for
in a title."""

LEAST_NAMED = 12
"""Characters of a title below which the names of what failed are left out of it."""

NAMES_SHOWN = 5

CAUSES_SHOWN = 3
SKIPPED_SHOWN = 3
"""How many causes of skipped nodes are named, and how many nodes of each; the rest is counted."""
READERS_SHOWN = 3
"""How many exposures that read a stale table are named."""
WARNINGS_SHOWN = 2
LONGEST_WARNINGS = 400
"""How many of dbt's warnings while parsing are shown, and characters of all."""

CONSTRAINT = "23"
"""The class of SQLSTATEs whose title quotes a row, which does not leave the machine."""


def failure(
    run: Run,
    root: Run,
    change: Change | None,
    changed: str,
    link: str,
    zone: ZoneInfo,
    before: Run | None = None,
    why: Explanation | None = None,
) -> Message:
    """A run failed.

    `root` is the run that it goes back to by reruns, `change` the last commit that touched the node
    `changed`, `link` the run's page, `before` the run that had the last alert when
    the same nodes failed in it, `why` its explanation.
    """
    failed = [result.name for result in run.failed]
    ended = "was cut off" if run.state is RunState.CANCELLED else "failed"
    title = f"{_called(run, root, LONGEST_TITLE - len(f' {ended}'))} {ended}"
    room = LONGEST_TITLE - len(title)
    if failed and room >= LEAST_NAMED:
        title += _cut(f": {_named(failed, 1)}", room)
    when = Clock(zone).say_with_zone(run.finished_at or run.asked_at)
    what = f"{_named(failed, NAMES_SHOWN)} ({len(failed)} of {run.nodes_in_all} nodes)"
    again = ""
    if before is not None:
        again = f", as {Clock(zone).say_with_zone(before.finished_at or before.asked_at)}"
    lines = [
        f"Failed: {what if failed else 'before any node ran'}, {when}{again}",
        f"Why: {_causes(why) if why and why.causes else _why(run)}",
        f"Skipped: {_skipped(run)}",
        (_since(why, zone) if why else "") or f"Last changed: {_changed(change, changed, zone)}",
        *(_follows(why, zone) if why else ()),
        *_dbt_warns(run),
        f"Rerun: {tool_command(f'run rerun_failed --of {run.id}')}{f'  {link}' if link else ''}",
    ]
    return _message(Kind.FAILURE, title, lines)


def recovery(run: Run, root: Run, how: str, author: str, link: str, zone: ZoneInfo) -> Message:
    """What first failed in the run `root` has passed in `run`, whose commit is by `author`.

    `how` says in words how `run` repaired it.
    """
    begun, over = root.finished_at or root.asked_at, run.finished_at or run.asked_at
    lines = [
        f"Failed {Clock(zone).say_with_zone(begun)},"
        f" fixed {Clock(zone, beside=begun).say_with_zone(over)}",
        f"By: {_who(run)}",
        _with_commit(run, author),
        f"How: {how}, {number(result.kind for result in run.nodes if result.passed)} nodes passed",
        *_dbt_warns(run),
        f"See: {tool_command(f'show {run.id}')}{f'  {link}' if link else ''}",
    ]
    fixed = "Fixed: "
    called = _lower(_called(root, root, LONGEST_TITLE - len(fixed)))
    return _message(Kind.RECOVERY, f"{fixed}{called}", lines)


def overdue(
    day: date,
    over_by: str,
    stand: str,
    reason: str,
    link: str,
    run: str | None = None,
    goes_on: bool = True,
) -> Message:
    """The daily build of `day` is not over at its deadline.

    `over_by` is the deadline, such as `09:00 KST`, `stand` how far the build is, `reason` why.
    `run` is its id once it has begun. `goes_on` says whether it will still end by itself.
    """
    if run is None or not goes_on:
        by_hand = tool_command(f'run --why "daily build of {day}"')
        hint = f"Begin it by hand: {by_hand}"
    else:
        hint = "Another alert follows when it ends."
    lines = [
        f"At {over_by} the build of {day} {stand}.",
        f"Why: {one_line(reason, LONGEST_REASON) or 'it began late, or takes longer than usual'}",
        f"Look: {tool_command(f'show {run}' if run else 'status')}",
        hint,
        *([link] if link else []),
    ]
    return _message(Kind.OVERDUE, f"Daily build of {day} {stand} (at {over_by})", lines)


def overdue_recovery(run: Run, day: str, over_by: str, link: str, zone: ZoneInfo) -> Message:
    """The overdue build of `day` has passed."""
    over = run.finished_at or run.asked_at
    lines = [
        f"Not over at {over_by}, done {Clock(zone).say_with_zone(over)}",
        f"Run {run.id} by {_caller(run)}: {run.nodes_in_all} nodes passed",
        *_dbt_warns(run),
        *([link] if link else []),
    ]
    return _message(Kind.RECOVERY, f"Done after all: daily build of {day}", lines)


def commit_broken(sha: str, subject: str, author: str, reason: str, live: str) -> Message:
    """The newest commit stays broken. `live` is the SHA of the commit that runs use, or empty."""
    lines = [
        f'Broken: {sha[:7]} "{one_line(subject, LONGEST_WORDS)}"',
        f"Why: {one_line(first_line(reason), LONGEST_REASON)}",
        f"By: {one_line(author, LONGEST_NAME)}",
        f"Runs use {live[:7]} until it is repaired." if live else "No commit can be built.",
        f"Push a commit that repairs it; {tool_command('status')} says when it is live.",
    ]
    return _message(Kind.BROKEN, f"main is broken at {sha[:7]} by {one_line(author, 30)}", lines)


def commit_not_ready(sha: str, subject: str, reason: str, live: str) -> Message:
    """This machine cannot make the newest commit ready, and no change is to blame."""
    lines = [
        f'Not ready: {sha[:7]} "{one_line(subject, LONGEST_WORDS)}"',
        f"Why: {one_line(reason, LONGEST_REASON)}",
        f"Runs use {live[:7]} until then." if live else "No commit can be built.",
        f"It is tried again, at least every minute; {tool_command('status')} says when it is live.",
    ]
    return _message(Kind.BROKEN, f"{sha[:7]} cannot be made ready on this machine", lines)


def commit_repaired(broken_shas: Sequence[str], sha: str, subject: str, author: str) -> Message:
    """main is repaired. `broken_shas` had an alert."""
    names = " and ".join(broken[:7] for broken in broken_shas)
    lines = [
        f'{sha[:7]} "{one_line(subject, LONGEST_WORDS)}" by {one_line(author, LONGEST_NAME)}',
        f"is live; {names} {'was' if len(broken_shas) == 1 else 'were'} broken.",
    ]
    return _message(Kind.RECOVERY, f"main is whole again at {sha[:7]}", lines)


def columns_changed(
    models: Sequence[ColumnsChanged], sha: str, subject: str, author: str
) -> Message:
    """With this commit, which is live, tables have other columns than their models."""
    names = _named([model.name for model in models], 1)
    lines = [
        f'With: {sha[:7]} "{one_line(subject, LONGEST_WORDS)}" by {one_line(author, LONGEST_NAME)}'
    ]
    for model in models[:NAMES_SHOWN]:
        lines.append(harmless(model.sentence, LONGEST_REASON))
        if model.refreshable:
            lines.append(f"Refresh: {model.command}")
    if (more := len(models) - NAMES_SHOWN) > 0:
        lines.append(f"And {more} more: {tool_command('status')}")
    return _message(Kind.NEWS, f"Columns changed at {sha[:7]}: {names}", lines)


def test(machine: str) -> Message:
    """The test message of `mage-dbt alert-test`."""
    body = f"A test from {one_line(machine, LONGEST_NAME)}. Failures of the daily build come here."
    return Message(Kind.RECOVERY, "mage-dbt: this channel works", body)


def one_line(text: str, longest: int) -> str:
    """As `harmless`, for free text: secrets that this process knows become stars."""
    return harmless(scrub(without_credentials(text)), longest)


def harmless(text: str, longest: int) -> str:
    """`text` as one line of at most `longest` characters that no channel acts on.

    Control and invisible characters are removed. A mention (@channel, <!here>) or a tag stays
    readable and has no effect. For names of nodes: stars in place of a secret would change a name.
    """
    text = " ".join(text.split())
    text = "".join(
        char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
    )
    text = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    # A zero-width space, so that the text reads as it was written. Apprise escapes text for HTML
    # and markdown, but leaves `<` alone in markdown, and mentions everywhere.
    return re.sub(r"@(?=\w)|<(?=[A-Za-z/!?@#])", "\\g<0>\u200b", text)


def first_failed(run: Run) -> NodeResult | None:
    """The node that failed first; None when the run failed before its first node."""
    return next(iter(run.failed), None)


def _message(kind: Kind, title: str, lines: Sequence[str]) -> Message:
    return Message(kind, _cut(title, LONGEST_TITLE), "\n".join(lines))


def _called(run: Run, root: Run, longest: int) -> str:
    """The name of a run in a title: the daily build of a date, or what was asked for by whom."""
    rerun = run.id != root.id and root.operation is not Operation.RERUN_FAILED
    before = "Rerun of " if rerun else ""
    if root.morning:
        called = f"Daily build of {root.morning}"
    else:
        by = f" by {_caller(root)}"
        called = f"{_cut(_what(root), longest - len(before + by))}{by}"
    return before + (_lower(called) if before else called)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _what(run: Run) -> str:
    """What was asked for, in a few words: `Full refresh of fct_orders`."""
    asked = run.request
    names = _named([one_line(name, LONGEST_ASKED) for name in asked.models or asked.select], 1)
    match run.operation:
        case Operation.COMMAND:
            return f"{TITLES[run.operation]} {one_line(asked.after_dbt, LONGEST_ASKED)}"
        case Operation.FULL_REFRESH | Operation.UNDO_REFRESH:
            return f"{_upper(TITLES[run.operation])} {names}"
        case Operation.RERUN_FAILED:
            return f"{_upper(TITLES[run.operation])} what failed"
        case _:
            return f"Build of {names or ('everything but some' if asked.exclude else 'everything')}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


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
    reason = first_line(first.message) if first else ""
    return one_line(reason or run.detail, LONGEST_REASON) or "dbt gave no reason."


def _causes(why: Explanation) -> str:
    """`code: a reads a column that is not there: column o.code does not exist; and 2 more
    causes`."""
    first, more = why.causes[0], len(why.causes) - 1
    title = first.title
    if first.sqlstate.startswith(CONSTRAINT) and first.nodes:
        title = first_line(first.nodes[0].message)
    kind = "" if first.failure_class is FailureClass.UNKNOWN else f"{first.failure_class}: "
    others = f"; and {more} more cause{'' if more == 1 else 's'}" if more else ""
    happened = harmless(first.sentence.removesuffix("."), LONGEST_REASON)
    happened += ": " if happened else ""
    return f"{kind}{happened}{one_line(title, LONGEST_REASON)}{others}"


def _since(why: Explanation, zone: ZoneInfo) -> str:
    """What changed since the first cause's node passed; empty where nothing tells that."""
    first = why.causes[0] if why.causes else None
    if first is None or first.passed is None:
        return ""
    clock = Clock(zone)
    last = f"it last passed ({clock.say_with_zone(first.passed.at)}, {first.passed.commit[:7]})"
    if first.changes:
        change, more = first.changes[0], len(first.changes) - 1
        text = (
            f"Changed since {last}: {one_line(change.path, LONGEST_WORDS)} by "
            f"{one_line(change.author, LONGEST_NAME)}, {clock.say_with_zone(change.at)}, "
            f'"{one_line(change.subject, LONGEST_WORDS)}" ({change.commit[:7]})'
        )
        return text + (f" and {more} more file{'' if more == 1 else 's'}" if more else "")
    if first.changes_note in UNCHANGED:
        return f"No code changed since {last}"
    return ""


def _follows(why: Explanation, zone: ZoneInfo) -> Iterator[str]:
    """Which tables are stale and who reads them, and when a rerun would make all of it whole."""
    clock = Clock(zone)
    found = {stale.node: stale for cause in why.causes for stale in cause.stale if stale.as_of}
    if found:
        oldest = min(stale.as_of for stale in found.values() if stale.as_of)
        many = len(found) > 1
        tables = f"{len(found)} tables are" if many else f"{next(iter(found.values())).name} is"
        readers = sorted({label for stale in found.values() for label in stale.exposures})
        read_by = f"; read by {_named(readers, READERS_SHOWN)}" if readers else ""
        as_of = clock.say_with_zone(oldest)
        yield f"Stale: {harmless(tables, LONGEST_NAME)} as of {as_of}{read_by}"
    if why.whole_at and why.over_by:
        word = "after" if why.whole_at > why.over_by else "before"
        same_day = Clock(zone, beside=why.whole_at)
        yield (
            f"Rerun now it would be whole at {same_day.say_with_zone(why.whole_at)}, "
            f"{word} {same_day.say_with_zone(why.over_by)}"
        )


def _skipped(run: Run) -> str:
    """`48 because of fct_orders: a, b and 46 more; 2 because of dim: c, d`."""
    causes = []
    for group in by_cause(run.nodes):
        cause = f" because of {harmless(group.because, LONGEST_NAME)}" if group.because else ""
        causes.append(f"{len(group.nodes)}{cause}: {_named(group.names, SKIPPED_SHOWN)}")
    more = len(causes) - CAUSES_SHOWN
    text = "; ".join(causes[:CAUSES_SHOWN]) + (f"; and for {more} more causes" if more > 0 else "")
    return text or "nothing"


def _dbt_warns(run: Run) -> list[str]:
    """The line about dbt's warnings while parsing, new ones first; none without warnings."""
    headline = run.parse_warnings.headline()
    shown = "; ".join(run.parse_warnings.lines(WARNINGS_SHOWN))
    return [f"dbt: {one_line(f'{headline}: {shown}', LONGEST_WARNINGS)}"] if headline else []


def _named(names: Sequence[str], shown: int) -> str:
    """`a, b and 3 more`."""
    text = ", ".join(harmless(name, LONGEST_NAME) for name in names[:shown])
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
