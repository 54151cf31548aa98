"""Mage's own dbt blocks: each sends its command to the runner.

There is one dbt, one commit of dbt-metric and one history. So a block that Mage would run with its
own dbt and its own project folder becomes a request. A block that cannot become one is refused.
Patches make Mage call this module.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NoReturn

import pandas as pd

from mage_dbt.errors import BadCommand, BadSelection, BadVariable
from mage_dbt.mage import blocks
from mage_dbt.model.command import SELECTOR_FLAG, Command
from mage_dbt.model.variables import read

BUILDING = ("build", "run", "seed", "snapshot")
"""Commands that build all models when none is named."""


def run(command: str, flags: str, kwargs: Mapping[str, Any]) -> pd.DataFrame:
    """Runs a YAML block: `command` is its dbt command, `flags` the text in the block.

    Only `--vars` become dbt variables. With Mage's own pipeline variables (execution_date and the
    like) dbt would parse the whole project again for each run. Raises BadCommand for a command that
    is not allowed, BadVariable for `--vars` that cannot be read, and BadSelection when the flags
    name no model and the command would build all of them.
    """
    if command == "deps":
        print("Nothing to do: packages come with the commit, once, before anything runs.")
        return pd.DataFrame()
    try:
        words = shlex.split(flags, comments=True)
    except ValueError as error:
        raise BadCommand(f"{flags!r} cannot be read: {error}.") from None
    words, variables = _without_vars(words)
    asked = Command.parse(shlex.join([command, *words]))
    if asked.name in BUILDING and not (
        asked.select or asked.exclude or SELECTOR_FLAG in asked.flags
    ):
        raise BadSelection(
            f"The flags of this block name no model: dbt {command} would then mean all of them.",
            "Write which, such as `--select fct_orders+`; for every model write `--select *`.",
        )
    return blocks.run_command([command, *words], variables, kwargs)


def refuse_model_block(name: str) -> NoReturn:
    """Raises BadCommand for a block that is a model's SQL file; `name` may be its path."""
    name = name.rsplit("/", 1)[-1]
    raise BadCommand(
        f"{name} is a dbt model as a file of Mage's, which would be a second copy of dbt-metric.",
        "Models are changed in the dbt-metric repository. To build one here, add DBT model → "
        f"Generic dbt command with `--select {name}`, or the template dbt model.",
    )


def refuse_cli(arguments: list[str]) -> NoReturn:
    """Raises BadCommand for any other use of Mage's dbt."""
    raise BadCommand(
        f"Mage has no dbt of its own here, so `dbt {arguments[0]}` cannot run.",
        "docs/mage-dbt-blocks.md says which dbt blocks work.",
    )


def _without_vars(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    kept: list[str] = []
    variables: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != "--vars":
            kept.append(word)
            continue
        text = value if equals else next(rest, "")
        try:
            variables |= read(text)
        except BadVariable as error:
            raise BadVariable(
                f"--vars {text!r}: {error.message}", "Write --vars '{name: value}'."
            ) from None
    return kept, variables
