"""What dbt warned of while it parsed: kept with a commit, and shown by whatever uses its graph.

A warning may be the only trace of something that is missing, such as a test on a misspelt model,
which dbt drops. New ones come first: those that the ready commit before did not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

MOST_KEPT = 500
"""Warnings that are kept of one parse; more are counted."""

MOST_SHOWN = 5
"""Warnings that are shown of one parse to somebody who asked for something else."""

LONGEST_WARNING = 1_000
"""Characters of one warning."""


@dataclass(frozen=True)
class ParseWarning:
    """One sentence of dbt's."""

    text: str
    times: int = 1
    """How often dbt met it: of each kind of deprecation it says the first, and counts."""
    deprecation: bool = False
    new: bool = False
    """Whether the ready commit before did not have it."""
    only_here: bool = False
    """Of a run: whether its commit does not have it with other variables."""

    @property
    def sentence(self) -> str:
        return f"{self.text} ({self.times} times)" if self.times > 1 else self.text


@dataclass(frozen=True)
class ParseWarnings:
    """Those of one parse, new ones first."""

    shown: tuple[ParseWarning, ...] = ()
    """At most MOST_KEPT."""
    total: int = 0
    since: str = ""
    """SHA of the ready commit before; empty where there is none to compare with."""

    @classmethod
    def of(cls, found: Sequence[ParseWarning]) -> ParseWarnings:
        """As dbt gave them; which are new is not known yet."""
        return cls(_sorted(found)[:MOST_KEPT], len(found))

    @property
    def new(self) -> int:
        return sum(one.new for one in self.shown)

    def after(self, before: ParseWarnings, sha: str) -> ParseWarnings:
        """Which of them are new since `sha`, the ready commit before, which has `before`."""
        known = {one.text for one in before.shown}
        marked = [replace(one, new=one.text not in known) for one in self.shown]
        return replace(self, shown=_sorted(marked), since=sha)

    def instead_of(self, before: ParseWarnings) -> ParseWarnings:
        """Those of the same commit in another environment; what it did not have before is new."""
        known = {one.text: one.new for one in before.shown}
        marked = [replace(one, new=known.get(one.text, True)) for one in self.shown]
        return replace(self, shown=_sorted(marked), since=before.since)

    def in_run_of(self, commit: ParseWarnings) -> ParseWarnings:
        """Those of the graph that a run uses, which variables may make another than the commit's;
        which are new is known of the commit's."""
        known = {one.text: one.new for one in commit.shown}
        marked = [
            replace(one, new=known.get(one.text, False), only_here=one.text not in known)
            for one in self.shown
        ]
        return replace(self, shown=_sorted(marked), since=commit.since)

    def headline(self) -> str:
        """`3 warnings while parsing, 1 new since 9a8b7c6`; empty when there are none."""
        if not self.total:
            return ""
        parts = [f"{self.total} warning{'s' if self.total > 1 else ''} while parsing"]
        if self.since:
            parts.append(f"{self.new or 'none'} new since {self.since[:7]}")
        if here := sum(one.only_here for one in self.shown):
            parts.append(f"{here} only with this run's variables")
        return ", ".join(parts)

    def lines(self, most: int = MOST_SHOWN) -> Iterator[str]:
        """dbt's own sentences, at most that many, and how many more there are."""
        for one in self.shown[:most]:
            how = "With this run's variables: " if one.only_here else ""
            yield f"{'New: ' if one.new and self.since else how}{one.sentence}"
        if self.total > most:
            yield f"and {self.total - most} more; with --json all are listed"

    def sentences(self) -> tuple[str, ...]:
        """Headline and lines, each to be read alone among other warnings."""
        return tuple(filter(None, (self.headline(), *(f"dbt: {one}" for one in self.lines()))))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParseWarnings:
        shown = tuple(ParseWarning(**one) for one in data["shown"])
        return cls(shown, data["total"], data["since"])

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {
            "total": self.total,
            "new": self.new,
            "since": self.since,
            "shown": [asdict(one) for one in self.shown],
        }


def _sorted(found: Sequence[ParseWarning]) -> tuple[ParseWarning, ...]:
    """Those of the run alone, new ones, others; of each what dbt will change one day last."""
    return tuple(sorted(found, key=lambda one: (not one.only_here, not one.new, one.deprecation)))
