"""argparse, with refusals that name what somebody probably meant."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
from collections.abc import Callable
from typing import Any, NoReturn

from mage_dbt.base.tool_command import tool_command
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import did_you_mean
from mage_dbt.model.command import COMMANDS
from mage_dbt.model.request import Operation
from mage_dbt.model.run import RUN_ID

TOOL = tool_command()

EXAMPLES = f"""examples:
  {TOOL} plan --select fct_orders+            what would run, changing nothing
  {TOOL} run --select fct_orders --why "late data"
  {TOOL} plan full_refresh --model fct_orders         its new columns, who reads it, what is refused
  {TOOL} run full_refresh --model fct_orders --show-first --why "new column"
  {TOOL} swap 20261123-083100-4f2a9c                   go on, now that the differences were seen
  {TOOL} run undo_refresh fct_orders --why "the old numbers were right"
  {TOOL} run rerun_failed --why "fct_orders is repaired"      of the last full build
  {TOOL} run rerun_failed --of 20261123-080000-4f2a9c --commit same
  {TOOL} plan --select fct_orders+ --commit v1.2
  {TOOL} run --model page_views --event-time-start 2026-01-01 --event-time-end 2026-02-01
  {TOOL} run command --command "test --select tag:daily"
  {TOOL} status
  {TOOL} schedule --pause --until 2026-12-05T12:00 --why "inventory"
"""

DBT_FLAGS = {
    "--vars": "Each variable by itself: --var NAME=VALUE.",
    "--models": "Did you mean --select, or --model for one by its name?",
    "-s": "Did you mean --select?",
    "-m": "Did you mean --model?",
    "--full-refresh": f"That is an operation: {TOOL} run full_refresh --select MODELS.",
    "--fail-fast": 'Within a command: --command "build --fail-fast".',
    "--selector": 'Within a command: --command "build --selector NAME".',
    "--target": "The target is the setting DBT_TARGET.",
}
"""Flags of dbt that people know, and what takes their place here."""


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line. It exits with 2, as for every refusal."""

    def __init__(self, **more: Any) -> None:
        more.setdefault("prog", TOOL)
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **more)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is None:  # this parser is a verb's
            for word in itertools.takewhile(lambda word: word != "--", args or ()):
                if " " not in word:  # argparse takes a word with spaces for a value
                    self._refuse_unknown(word.partition("=")[0])
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self, flag: str) -> None:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        # argparse takes the beginning of a flag for the flag, and a number for a value.
        if not re.match(r"-[^\d.]", flag) or any(name.startswith(flag) for name in known):
            return
        if flag not in self._option_string_actions:
            known.remove("--help")
            listed = f"It knows {', '.join(known)}."
            hint = DBT_FLAGS.get(flag) or did_you_mean(flag, known) or listed
            self.error(f"{self.prog} knows no {flag}. {hint}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, more = self.parse_known_args(args, namespace)
        if more and getattr(options, "operation", "") == Operation.UNDO_REFRESH:
            options.model, more = [*options.model, *more], []
        if more:
            where = "--of" if RUN_ID.fullmatch(more[0]) else "--select"
            hint = f" Is it for {where}?" if hasattr(options, "of") else ""
            options.parser.error(f"{more[0]!r} is a word too many.{hint}")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(choice) for choice in action.choices or ()]
        if action.choices is None or value in known:
            return
        hint = did_you_mean(str(value), known)
        what = str(action.metavar or action.dest).lower()
        if what == "operation":
            hint = hint or f"Are these models? --select {shlex.quote(value)}."
        elif value in COMMANDS:
            hint = (
                f"dbt's own command is: {TOOL} run command --command {shlex.quote(value)}, and "
                "each variable by itself: --var NAME=VALUE."
            )
        hint = hint or f"There is {', '.join(known)}."
        self.error(f"There is no {what} {value!r}. {hint}")

    def error(self, message: str) -> NoReturn:
        message = re.sub("^the following arguments are required: (.+)$", r"\1 is missing.", message)
        message = message.removeprefix("argument ")
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"{message}{end} See {self.prog} --help.\n")


class Verbs:
    """The verbs of a parser."""

    def __init__(self, parser: Parser) -> None:
        self._parsers = parser.add_subparsers(required=True, metavar="VERB")

    def add(self, name: str, verb: Callable[[RunnerClient, Any], int], what: str) -> Parser:
        """Adds a verb and returns its parser. `verb` returns the exit status."""
        parser = self._parsers.add_parser(name, help=what, description=what, epilog=EXAMPLES)
        parser.add_argument("--json", action="store_true", help="print plain data for a program")
        parser.set_defaults(verb=verb, parser=parser)
        return parser
