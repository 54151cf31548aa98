"""What a run is, in words that a person understands: `Daily build of Sat 28 Nov`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Protocol

from mage_dbt.model.request import Operation, Request
from mage_dbt.model.run import asked_at_of
from mage_dbt.server.pages.formats import Formats

MOST_NAMED = 3
"""Models in one title."""

LONGEST = 80
"""Characters of what somebody typed, in a title."""

UNIQUE_ID = re.compile(r"(?:model|seed|snapshot)\.[^.]+\.(.+)")


class AnyRun(Protocol):
    """What the words need of a run."""

    @property
    def operation(self) -> Operation: ...
    @property
    def request(self) -> Request: ...
    @property
    def morning(self) -> str | None: ...
    @property
    def follows(self) -> str | None: ...
    @property
    def title(self) -> str: ...


def run_words(run: AnyRun, formats: Formats, follows: AnyRun | None = None) -> str:
    """The run in a few words. `follows` is the run whose failures a rerun repeats, where it is
    known; without it the rerun names the other's time."""
    gettext = formats.texts.gettext
    asked = run.request
    if run.morning:
        return gettext("Daily build of %(day)s") % {"day": day_words(run.morning, formats)}
    if run.operation is Operation.RERUN_FAILED:
        return _rerun(run, formats, follows)
    if run.operation is Operation.COMMAND:
        return gettext("Command dbt %(command)s") % {"command": _cut(asked.after_dbt)}
    names = _names(asked.models or asked.select, formats)
    if run.operation is Operation.FULL_REFRESH:
        return gettext("Full refresh of %(models)s") % {"models": names}
    if run.operation is Operation.UNDO_REFRESH:
        return gettext("Undo of the refresh of %(models)s") % {"models": names}
    if run.operation is not Operation.BUILD:
        return run.title
    if asked.is_full_build:
        return gettext("Build of everything")
    if asked.selects_everything:
        return gettext("Build of everything with other variables or times")
    if not names:
        excluded = _names(asked.exclude, formats)
        return gettext("Build of everything but %(models)s") % {"models": excluded}
    return _build(asked.with_upstream, asked.with_downstream, formats) % {"models": names}


def day_words(day: str, formats: Formats) -> str:
    """A local date, ISO 8601, as people write it."""
    return formats.day(datetime.combine(date.fromisoformat(day), time(12), formats.zone))


def _build(upstream: bool, downstream: bool, formats: Formats) -> str:
    gettext = formats.texts.gettext
    if upstream and downstream:
        return gettext("%(models)s, what it reads and what reads it")
    if upstream:
        return gettext("%(models)s and what it reads")
    if downstream:
        return gettext("%(models)s and what reads it")
    return gettext("Build of %(models)s")


def _rerun(run: AnyRun, formats: Formats, follows: AnyRun | None) -> str:
    gettext = formats.texts.gettext
    if follows is not None and follows.operation is not Operation.RERUN_FAILED:
        return gettext("Rerun of what failed in: %(run)s") % {"run": run_words(follows, formats)}
    try:
        moment = asked_at_of(run.follows or run.request.of or "")
    except ValueError:
        return gettext("Rerun of what failed")
    return gettext("Rerun of what failed in the run of %(time)s") % {"time": formats.clock(moment)}


def _names(criteria: Sequence[str], formats: Formats) -> str:
    return formats.names([_cut(_plain(text)) for text in criteria], MOST_NAMED)


def _plain(text: str) -> str:
    found = UNIQUE_ID.fullmatch(text)
    return found[1] if found else text


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"
