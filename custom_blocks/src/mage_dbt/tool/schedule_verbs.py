"""The verb `schedule`: when the daily build begins, another time for it, its pause."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mage_dbt.base.clock import Clock
from mage_dbt.client.client import RunnerClient
from mage_dbt.model.schedule import ChangeKind, Outlook, PastChange, Today
from mage_dbt.tool.parser import Verbs
from mage_dbt.tool.printing import print_json, print_lines

TODAY = {
    Today.COMES: "",
    Today.LATE: "was due and has not run: it begins now, late, as soon as Mage asks for it",
    Today.WAITS: "waits for its turn",
    Today.RUNS: "is running",
    Today.BUILT: "has been built; a date is built once",
    Today.FAILED: "failed, and does not begin again by itself",
    Today.CANCELLED: "was cancelled, and does not begin again by itself",
    Today.PAUSED: "is left out: it is or was due during a pause",
    Today.BEFORE: "was due before this workspace was set up, and is not made up for",
}
"""What becomes of today's build, in words; nothing where the next build says it."""


AT = (
    "begin at this time of day, in the team's zone; one that has passed today begins today's build "
    "now, unless it has run"
)


def add_to(verbs: Verbs) -> None:
    """Adds the verb."""
    parser = verbs.add(
        "schedule",
        _schedule,
        "Show when the daily build begins and who has set that; or change it, as an operator.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--at", metavar="HH:MM", help=AT)
    what.add_argument("--pause", action="store_true", help="let no daily build begin by itself")
    what.add_argument("--resume", action="store_true", help="end the pause")
    what.add_argument("--reset", action="store_true", help="the settings' time again, and no pause")
    parser.add_argument(
        "--until",
        metavar="TIME",
        help="for --pause: when it ends by itself, such as 2026-12-05T12:00, in the team's zone",
    )
    parser.add_argument("--why", metavar="TEXT", help="the reason, kept in the history")


def _schedule(client: RunnerClient, options: Any) -> int:
    wanted: dict[str, str | bool] = {}
    if options.at is not None:
        wanted["build_at"] = options.at
    if options.pause or options.resume:
        wanted["paused"] = bool(options.pause)
    if options.reset:
        wanted["reset"] = True
    if options.until is not None:
        wanted["paused_until"] = options.until
    if not wanted and options.why is not None:
        options.parser.error("--why is for --at, --pause, --resume or --reset")
    if wanted:
        wanted["by"] = getpass.getuser()
        if options.why is not None:
            wanted["why"] = options.why
    outlook = client.change_schedule(**wanted) if wanted else client.schedule()
    if options.json:
        return print_json(outlook.to_json())
    print_lines(_lines(outlook, options.clock, datetime.now(UTC)))
    return 0


def _lines(outlook: Outlook, clock: Clock, now: datetime) -> Iterator[str]:
    yield f"daily     every day at {outlook.schedule.time_in_words(now)}"
    if pause := outlook.schedule.pause_in_words(now):
        yield f"          {pause}"
    if text := TODAY.get(outlook.today, str(outlook.today)):
        yield f"today     the build {text}"
    for number, due in enumerate(outlook.next):
        yield f"{'next' if number == 0 else '':<10}{clock.say_with_zone(due)}"
    if not outlook.next:
        yield "next      none until the pause is ended"
    yield f"alert     when it is not over by {outlook.over_by:%H:%M}"
    for change in outlook.changes:
        yield f"changed   {clock.say_in_full(change.at)}  {_change(change, clock)}"


def _change(change: PastChange, clock: Clock) -> str:
    words = []
    for kind in change.what:
        if kind is ChangeKind.TIME and change.build_at is not None:
            words.append(f"begins at {change.build_at:%H:%M}")
        elif kind is ChangeKind.PAUSE:
            until = change.paused_until
            words.append(f"paused until {clock.say_with_zone(until)}" if until else "paused")
        elif kind is ChangeKind.RESUME:
            words.append("no longer paused")
        else:
            words.append("as the settings say")
    why = f": {change.why}" if change.why else ""
    return f"{', '.join(words)} by {change.by}{why}"
