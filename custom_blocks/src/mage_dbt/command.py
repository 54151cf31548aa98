"""A dbt command as a person types it, read against a list of what is allowed.

Nothing here reaches a shell: the text becomes a list of words, each is looked up, and dbt gets a
list of arguments. What is not on the lists is refused by name: commands that leave dbt-metric's
commit (`deps`, `init`, `clean`), run arbitrary macros (`run-operation`), start servers (`docs
serve`), list nodes (`ls`: that is what a plan shows), and flags that point dbt at other files,
profiles or states.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from mage_dbt.errors import BadCommand, did_you_mean
from mage_dbt.selection import criteria
from mage_dbt.windows import END_FLAG, START_FLAG, Window

COMMANDS = ("build", "run", "test", "seed", "snapshot", "compile")

PLAIN_FLAGS = ("--full-refresh", "--fail-fast", "--store-failures", "--empty")

VALUE_FLAGS = {
    "--indirect-selection": ("eager", "cautious", "buildable", "empty"),
    "--resource-type": ("model", "seed", "snapshot", "test", "unit_test"),
}

TIME_FLAGS = (START_FLAG, END_FLAG)

WITH_WINDOW = ("build", "run")
"""Commands that take a window of event time."""

SELECTOR_FLAG = "--selector"
"""Names a selector of the project's selectors.yml, instead of models."""

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
"""Flags of dbt's that have another place here."""

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
    """The window of event time that `flags` ask for."""

    @classmethod
    def parse(cls, text: str) -> Command:
        """Reads `build --select fct_orders+`; a leading `dbt` is taken off.

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
            start, end = (times.get(one, "") for one in TIME_FLAGS)
            window = Window.asked(start, end, TIME_FLAGS)
            flags += window.flags()
        command = cls(name, select, exclude, tuple(flags), window)
        if window and command.full_refresh:
            raise BadCommand(WINDOW_REFRESHED, "Leave --full-refresh out: the window is replaced.")
        return command

    @property
    def full_refresh(self) -> bool:
        """Whether tables are dropped and built anew."""
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
        """Whether a node that passed in a run of this has had done what `other` does to it."""
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
