"""dbt's warnings while parsing, kept with a commit and shown with its status, plans and runs.

A warning may be the only trace of a mistake: dbt drops a test on a misspelt model, for example.
New warnings come first: those that the ready commit before did not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import computed_field

from mage_dbt.model import codec

MOST_KEPT = 500
"""The number of warnings kept of one parse; more are only counted."""

MOST_SHOWN = 5
"""The number of warnings shown beside other output."""

LONGEST_WARNING = 1_000
"""Characters of one warning."""


@dataclass(frozen=True)
class ParseWarning:
    """One warning, in dbt's words."""

    __pydantic_config__ = codec.DESCRIBED

    text: str
    times: int = 1
    """How often dbt met it. dbt prints the first deprecation of a kind, and counts the rest."""
    deprecation: bool = False
    new: bool = False
    """Whether the ready commit before did not have it."""
    only_here: bool = False
    """In a run: whether the commit lacks it with its own variables."""

    @property
    def sentence(self) -> str:
        return f"{self.text} ({self.times} times)" if self.times > 1 else self.text


@dataclass(frozen=True)
class ParseWarnings:
    """The warnings of one parse, new ones first."""

    __pydantic_config__ = codec.DESCRIBED

    shown: tuple[ParseWarning, ...] = ()
    """At most MOST_KEPT."""
    total: int = 0
    since: str = ""
    """The SHA of the ready commit before; empty when there is none."""

    @classmethod
    def of(cls, found: Sequence[ParseWarning]) -> ParseWarnings:
        """The warnings as dbt gave them; which are new is not known yet."""
        return cls(_sorted(found)[:MOST_KEPT], len(found))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def new(self) -> int:
        return sum(warning.new for warning in self.shown)

    def after(self, before: ParseWarnings, sha: str) -> ParseWarnings:
        """The same with new ones marked: those not in `before`, the warnings of commit `sha`."""
        known = {warning.text for warning in before.shown}
        marked = [replace(warning, new=warning.text not in known) for warning in self.shown]
        return replace(self, shown=_sorted(marked), since=sha)

    def instead_of(self, before: ParseWarnings) -> ParseWarnings:
        """The same commit's warnings in another environment; those not in `before` are new."""
        known = {warning.text: warning.new for warning in before.shown}
        marked = [replace(warning, new=known.get(warning.text, True)) for warning in self.shown]
        return replace(self, shown=_sorted(marked), since=before.since)

    def in_run_of(self, commit: ParseWarnings) -> ParseWarnings:
        """The warnings of a run's graph, which differs from the commit's by the run's variables.

        `commit` are the commit's own warnings, of which the new ones are known.
        """
        known = {warning.text: warning.new for warning in commit.shown}
        marked = [
            replace(
                warning, new=known.get(warning.text, False), only_here=warning.text not in known
            )
            for warning in self.shown
        ]
        return replace(self, shown=_sorted(marked), since=commit.since)

    def headline(self) -> str:
        """`3 warnings while parsing, 1 new since 9a8b7c6`; empty when there are none."""
        if not self.total:
            return ""
        parts = [f"{self.total} warning{'s' if self.total > 1 else ''} while parsing"]
        if self.since:
            parts.append(f"{self.new or 'none'} new since {self.since[:7]}")
        if here := sum(warning.only_here for warning in self.shown):
            parts.append(f"{here} only with this run's variables")
        return ", ".join(parts)

    def lines(self, most: int = MOST_SHOWN) -> Iterator[str]:
        """At most `most` warnings in dbt's words, and the number of the others."""
        for warning in self.shown[:most]:
            how = "With this run's variables: " if warning.only_here else ""
            yield f"{'New: ' if warning.new and self.since else how}{warning.sentence}"
        if self.total > most:
            yield f"and {self.total - most} more; with --json all are listed"

    def sentences(self) -> tuple[str, ...]:
        """Headline and lines, each a sentence of its own."""
        return tuple(filter(None, (self.headline(), *(f"dbt: {line}" for line in self.lines()))))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParseWarnings:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return codec.plain(self)


def _sorted(found: Sequence[ParseWarning]) -> tuple[ParseWarning, ...]:
    """Sorted: those of the run alone, new ones, others; deprecations last in each group."""
    return tuple(
        sorted(
            found, key=lambda warning: (not warning.only_here, not warning.new, warning.deprecation)
        )
    )
