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

COMMANDS = ("build", "run", "test", "seed", "snapshot", "compile")

PLAIN_FLAGS = ("--full-refresh", "--fail-fast", "--store-failures", "--empty")

VALUE_FLAGS = {
    "--indirect-selection": ("eager", "cautious", "buildable", "empty"),
    "--resource-type": ("model", "seed", "snapshot", "test", "unit_test"),
}

SELECTOR_FLAG = "--selector"
"""Names a selector of the project's selectors.yml, instead of models."""

SELECTOR_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,199}")

SELECTION_FLAGS = {"--select": "select", "-s": "select", "--models": "select", "-m": "select"}
SELECTION_FLAGS |= {"--exclude": "exclude"}


@dataclass(frozen=True)
class Command:
    """One allowed dbt command: its name, its selection and its other flags."""

    name: str
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

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
            else:
                allowed = [*SELECTION_FLAGS, SELECTOR_FLAG, *PLAIN_FLAGS, *VALUE_FLAGS]
                raise BadCommand(
                    f"{word!r} is not allowed here.",
                    did_you_mean(word, allowed) or f"Allowed flags are {', '.join(allowed)}.",
                )
        if SELECTOR_FLAG in flags and (chosen["select"] or chosen["exclude"]):
            raise BadCommand(
                f"{SELECTOR_FLAG} brings its own selection.", "Leave --select and --exclude out."
            )
        select = criteria(chosen["select"], "--select")
        return cls(name, select, criteria(chosen["exclude"], "--exclude"), tuple(flags))

    @property
    def flags_beside_selection(self) -> tuple[str, ...]:
        """The flags for a run whose nodes are chosen otherwise, as a rerun's are."""
        if SELECTOR_FLAG not in self.flags:
            return self.flags
        at = self.flags.index(SELECTOR_FLAG)
        return self.flags[:at] + self.flags[at + 2 :]

    @property
    def full_refresh(self) -> bool:
        """Whether tables are dropped and built anew."""
        return "--full-refresh" in self.flags

    @property
    def writes(self) -> bool:
        """Whether it changes the warehouse."""
        return self.name != "compile"


def _split_equals(word: str) -> list[str]:
    flag, equals, value = word.partition("=")
    return [flag, value] if equals and flag.startswith("--") else [word]


def _take_values(words: list[str]) -> list[str]:
    taken: list[str] = []
    while words and not words[0].startswith("-"):
        taken += words.pop(0).split()
    return taken
