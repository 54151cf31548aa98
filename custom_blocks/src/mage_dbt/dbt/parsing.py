"""dbt's parse: of the project from its files, or from a partial parse, with what dbt warns of."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dbt.cli.requires
import dbt.deprecations
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt_common.events.base_types import EventMsg

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt import borders
from mage_dbt.model.parse_warnings import LONGEST_WARNING, ParseWarning, ParseWarnings
from mage_dbt.workers import partial_parse

Listener = Callable[[EventMsg], None]

SUMMARY = "DeprecationsSummary"

TAG = re.compile(r"^\[?WARNING\]?(?:\[(?P<kind>\w+)\])?:\s*(?:Deprecated functionality\s+)?")
"""What dbt writes before its sentence."""

SHORTAGES = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO),
        *(errno.EROFS, errno.EAGAIN),
    )
)
"""Numbers of an OSError by which the machine lacks something, whatever the project says."""


class NotParsed(Exception):
    """dbt could not parse; the text is dbt's own."""

    def __init__(self, message: str, by_machine: bool = False, outside: bool = False) -> None:
        super().__init__(message)
        self.by_machine = by_machine
        """Whether the machine lacked something, and the project is not wrong."""
        self.outside = outside
        """Whether the project leads out of its tree."""

    @classmethod
    def of(cls, done: dbtRunnerResult) -> NotParsed:
        """From a command of dbt's that failed."""
        reason = scrub(str(done.exception or "dbt gave no reason.").strip())
        if refused := borders.outside(done.exception):
            return cls(scrub(refused.msg), outside=True)
        return cls(reason, by_machine(done.exception))


def by_machine(error: BaseException | None) -> bool:
    """Whether an error of dbt's is due to a machine that lacks memory, disk space or the like."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORTAGES:
            return True
        error = error.__cause__ or error.__context__
    return False


def parse(arguments: Sequence[str]) -> tuple[dbtRunnerResult, ParseWarnings]:
    """dbt's parse, and all its warnings.

    dbt does not repeat the warnings of what it takes from a partial parse. So it takes all of that,
    where the warnings are known, or nothing.
    """
    target: Path | None = None
    if "--target-path" in arguments:
        target = Path(arguments[arguments.index("--target-path") + 1])
    listener = ParseListener()
    parsed = _parse_with(listener, arguments)
    if target and listener.reads_saved and (saved := partial_parse.read_warnings(target)):
        return parsed, saved
    if parsed.success and (listener.reads_saved or listener.reads_some):
        listener = ParseListener()
        parsed = _parse_with(listener, ["--no-partial-parse", *arguments])
    found = listener.found()
    if target and parsed.success:
        partial_parse.write_warnings(target, found)
    return parsed, found


def _parse_with(listener: Listener, arguments: Sequence[str]) -> dbtRunnerResult:
    with counted_by_parsing():
        return dbtRunner(callbacks=[listener]).invoke(["parse", *arguments])


class ParseListener:
    """Hears one `dbt parse`: its warnings, and whether it used a partial parse."""

    def __init__(self) -> None:
        self.reads_saved = False
        """Whether dbt took all of the partial parse."""
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
            summaries = event.data.summaries
            self._times = {summary.event_name: summary.occurrences for summary in summaries}
        elif event.info.level == "warn":
            self._take(name, event.info.msg)

    def found(self) -> ParseWarnings:
        """dbt's warnings in its order, each once."""
        _begin_counting()
        return ParseWarnings.of(
            [
                ParseWarning(text, self._times.get(self._kinds[text], 1), warning.deprecation)
                for text, warning in self._found.items()
            ]
        )

    def _take(self, name: str, message: str) -> None:
        words = " ".join(message.split())
        tag = TAG.match(words)
        kind, words = (tag["kind"], words[tag.end() :]) if tag else ("", words)
        text = scrub(f"{kind}: {words}" if kind else words)[:LONGEST_WARNING]
        deprecation = "deprecat" in name.lower()
        self._found.setdefault(text, ParseWarning(text, deprecation=deprecation))
        self._kinds.setdefault(text, name)


def _begin_counting() -> None:
    """dbt reports each deprecation once a process, and counts on over all its commands."""
    with suppress(AttributeError):  # another version of dbt
        dbt.deprecations.active_deprecations.clear()


# A run's process, or the one it is forked from, has done other commands before: `deps`, which
# judges by other rules, `parse`, and one that went as far as a run's selection. dbt counts over all
# of them, for the summary at a command's end. So each deprecation stood there several times.


@contextmanager
def counted_by_parsing() -> Iterator[None]:
    """Afterwards dbt's count is that of this block, as for one command of dbt's.

    Without what dbt finds until it has read how the project is declared: each command finds that
    again.
    """
    counted = _counted()
    counted.clear()
    begun: dict[str, int] = {}
    original = dbt.cli.requires.load_project

    def load_project(*arguments: Any, **named: Any) -> Any:
        project = original(*arguments, **named)
        begun.update(counted)
        return project

    dbt.cli.requires.load_project = load_project
    try:
        yield
    finally:
        dbt.cli.requires.load_project = original
        # The names stay: dbt reports only what has no name yet.
        for name, count in begun.items():
            counted[name] -= count


@contextmanager
def not_counted() -> Iterator[None]:
    """Afterwards dbt's count is what it was before this block."""
    counted = _counted()
    before = dict(counted)
    try:
        yield
    finally:
        counted.clear()
        counted.update(before)


def _counted() -> dict[str, int]:
    """dbt's own count by name; before version 1.10 it counted nothing."""
    counted = dbt.deprecations.active_deprecations
    return counted if isinstance(counted, dict) else {}
