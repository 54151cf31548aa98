"""Hears dbt while it parses: what it warns of, and whether it read what had been parsed before."""

from __future__ import annotations

import re
from contextlib import suppress

import dbt.deprecations
from dbt_common.events.base_types import EventMsg

from mage_dbt.parse_warnings import LONGEST_WARNING, ParseWarning, ParseWarnings
from mage_dbt.redaction import scrub

SUMMARY = "DeprecationsSummary"

TAG = re.compile(r"^\[?WARNING\]?(?:\[(?P<kind>\w+)\])?:\s*(?:Deprecated functionality\s+)?")
"""What dbt writes before its sentence."""


class ParseListener:
    """A listener of one `dbt parse`."""

    def __init__(self) -> None:
        self.reads_saved = False
        """Whether dbt took all of what had been parsed before."""
        self.reads_some = False
        """Whether it took a part of that."""
        self._found: dict[str, ParseWarning] = {}
        self._kinds: dict[str, str] = {}
        self._times: dict[str, int] = {}
        _begin_counting()

    def __call__(self, event: EventMsg) -> None:
        name = event.info.name
        if name == "PartialParsingSkipParsing":
            self.reads_saved = True
        elif name == "PartialParsingEnabled":
            self.reads_some = True
        elif name == "UnableToPartialParse":
            self.reads_saved = self.reads_some = False
        elif name == SUMMARY:
            self._times = {one.event_name: one.occurrences for one in event.data.summaries}
        elif event.info.level == "warn":
            self._take(name, event.info.msg)

    def _take(self, name: str, message: str) -> None:
        words = " ".join(message.split())
        tag = TAG.match(words)
        kind, words = (tag["kind"], words[tag.end() :]) if tag else ("", words)
        text = scrub(f"{kind}: {words}" if kind else words)[:LONGEST_WARNING]
        deprecation = "deprecat" in name.lower()
        self._found.setdefault(text, ParseWarning(text, deprecation=deprecation))
        self._kinds.setdefault(text, name)

    def found(self) -> ParseWarnings:
        """What dbt has warned of, in its order, what repeats once."""
        _begin_counting()
        return ParseWarnings.of(
            [
                ParseWarning(text, self._times.get(self._kinds[text], 1), one.deprecation)
                for text, one in self._found.items()
            ]
        )


def _begin_counting() -> None:
    """dbt says each deprecation once a process, and counts on over all its commands."""
    with suppress(AttributeError):  # another version of dbt
        dbt.deprecations.active_deprecations.clear()
