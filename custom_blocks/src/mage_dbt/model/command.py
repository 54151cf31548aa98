"""A dbt command as a person types it, parsed against a list of allowed words.

No shell sees the text: it becomes a list of words, and dbt gets a list of arguments. A word that is
not on the lists is refused by name. Refused are commands that change the commit's files (`deps`,
`init`, `clean`), run arbitrary macros (`run-operation`), start servers (`docs serve`) or list nodes
(`ls`: a plan shows them), and flags that point dbt at other files, profiles or states.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from mage_dbt.errors import BadCommand, did_you_mean
from mage_dbt.model.selection import criteria
from mage_dbt.model.windows import END_FLAG, START_FLAG, Window

COMMANDS = ("build", "run", "test", "seed", "snapshot", "compile")

PLAIN_FLAGS = ("--full-refresh", "--fail-fast", "--store-failures", "--empty")

VALUE_FLAGS = {
    "--indirect-selection": ("eager", "cautious", "buildable", "empty"),
    "--resource-type": ("model", "seed", "snapshot", "test", "unit_test"),
}

UNDO = "undo_refresh"
"""The name of what an undo runs in place of a dbt command; nobody can type it."""

TIME_FLAGS = (START_FLAG, END_FLAG)

WITH_WINDOW = ("build", "run")
"""The commands that take a window of event time."""

SELECTOR_FLAG = "--selector"
"""The flag that names a selector of the project's selectors.yml, instead of models."""

SELECTOR_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,199}")

SELECTION_FLAGS = {"--select": "select", "-s": "select", "--models": "select", "-m": "select"}
SELECTION_FLAGS |= {"--exclude": "exclude"}

ASKED_ELSEWHERE = {
    "--vars": "Variables are asked for beside the command: `--var NAME=VALUE` with mage-dbt, "
    "`variables` in Mage and in the API.",
    "--target": "The target is the setting DBT_TARGET.",
    "-t": "The target is the setting DBT_TARGET.",
    "--threads": "The number of threads stands in profiles.yml.",
    "--state": "A run here has no state to compare with; operation `rerun_failed` runs again what "
    "did not pass.",
    "-f": "Write it out: --full-refresh.",
    "-x": "Write it out: --fail-fast.",
}
"""dbt's flags whose value is given in another way here, with that way."""

WINDOW_REFRESHED = (
    "A full refresh of a window would leave microbatch models with the rows of the window alone."
)


@dataclass(frozen=True)
class Command:
    """One allowed dbt command: its name, its selection and its other flags."""

    name: str
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    window: Window | None = None
    """The window of event time in `flags`."""

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parses `build --select fct_orders+`; a leading `dbt` is dropped.

        Raises BadCommand or BadSelection, naming the word that is not allowed.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BadCommand(f"{text!r} cannot be read: {error}.") from None
        if words[:1] == ["dbt"]:
            words = words[1:]
        if not words:
            raise BadCommand("The command is empty.", f"Begin with one of {', '.join(COMMANDS)}.")
        name, *rest = words
        if name not in COMMANDS:
            raise BadCommand(
                f"dbt {name!r} is not allowed here.",
                did_you_mean(name, COMMANDS) or f"Allowed are {', '.join(COMMANDS)}.",
            )
        return cls._with_flags(name, rest)

    @classmethod
    def _with_flags(cls, name: str, words: list[str]) -> Command:
        chosen: dict[str, list[str]] = {"select": [], "exclude": []}
        flags: list[str] = []
        times: dict[str, str] = {}
        words = [part for word in words for part in _split_equals(word)]
        while words:
            word = words.pop(0)
            if word in SELECTION_FLAGS:
                taken = _take_values(words)
                if not taken:
                    raise BadCommand(f"{word} needs at least one model.")
                chosen[SELECTION_FLAGS[word]] += taken
            elif word == SELECTOR_FLAG:
                value = words.pop(0) if words else ""
                if not SELECTOR_NAME.fullmatch(value):
                    raise BadCommand(f"{word} takes the name of a selector of selectors.yml.")
                flags += [word, value]
            elif word in PLAIN_FLAGS:
                flags.append(word)
            elif word in VALUE_FLAGS:
                value = words.pop(0) if words else ""
                if value not in VALUE_FLAGS[word]:
                    raise BadCommand(f"{word} takes one of {', '.join(VALUE_FLAGS[word])}.")
                flags += [word, value]
            elif word in TIME_FLAGS and name in WITH_WINDOW:
                times[word] = words.pop(0) if words else ""
            else:
                more = TIME_FLAGS if name in WITH_WINDOW else ()
                allowed = [*SELECTION_FLAGS, SELECTOR_FLAG, *PLAIN_FLAGS, *VALUE_FLAGS, *more]
                raise BadCommand(
                    f"{word!r} is not allowed here.",
                    ASKED_ELSEWHERE.get(word)
                    or did_you_mean(word, allowed)
                    or f"Allowed flags are {', '.join(allowed)}.",
                )
        if SELECTOR_FLAG in flags and (chosen["select"] or chosen["exclude"]):
            raise BadCommand(
                f"{SELECTOR_FLAG} brings its own selection.", "Leave --select and --exclude out."
            )
        select = criteria(chosen["select"], "--select")
        exclude = criteria(chosen["exclude"], "--exclude")
        window = None
        if times:
            start, end = (times.get(flag, "") for flag in TIME_FLAGS)
            window = Window.asked(start, end, TIME_FLAGS)
            flags += window.flags()
        command = cls(name, select, exclude, tuple(flags), window)
        if window and command.full_refresh:
            raise BadCommand(WINDOW_REFRESHED, "Leave --full-refresh out: the window is replaced.")
        return command

    @property
    def full_refresh(self) -> bool:
        """Whether it drops tables and rebuilds them."""
        return "--full-refresh" in self.flags

    @property
    def writes(self) -> bool:
        """Whether it changes the warehouse."""
        return self.name != "compile"

    @property
    def empty(self) -> bool:
        """Whether it builds tables without rows."""
        return "--empty" in self.flags

    def does_all_of(self, other: Command) -> bool:
        """Whether a node that passed in a run of this command also did what `other` asks."""
        if UNDO in (self.name, other.name):
            return False  # it builds nothing, and brings back rows of an earlier day
        if not other.writes:
            return True
        return (
            self.writes
            and self.empty <= other.empty
            and self.full_refresh >= other.full_refresh
            and self.window == other.window
        )


def _split_equals(word: str) -> list[str]:
    flag, equals, value = word.partition("=")
    return [flag, value] if equals and flag.startswith("--") else [word]


def _take_values(words: list[str]) -> list[str]:
    taken: list[str] = []
    while words and not words[0].startswith("-"):
        taken += words.pop(0).split()
    return taken
