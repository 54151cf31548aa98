"""A block's arguments: the values that somebody typed into Mage.

Mage's page reads each typed value as JSON before it sends it: `535e545` arrives as null, `9978e07`
as 99780000000. A patch keeps a text as text when the pipeline's own value is a text. A browser may
still show the page without the patch. So a value that identifies something must arrive as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mage_dbt.errors import BadVariable, RequestError
from mage_dbt.model.variables import ONE_PER_LINE, read

SWITCH: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

EXAMPLES: Mapping[str, str] = {"commit": "535e545", "failed_run": "20261123-080000-4f2a9c"}
"""Texts that look like numbers, shown in an error."""

QUOTED = re.compile(r'"[^"]*"')

EXACT_IN_JAVASCRIPT = 2**53 - 1


def text(kwargs: Mapping[str, Any], name: str) -> str:
    """A text, without double quotes that somebody typed around it; empty when it is missing.

    Raises RequestError for any other type: Mage's page has then replaced what was typed.
    """
    value = kwargs.get(name, "")
    if not isinstance(value, str):
        raise RequestError(
            f"`{name}` has come as {json.dumps(value, default=str)}, and not as a text: Mage's "
            "page reads what is typed as JSON.",
            f'Type it in double quotes: "{EXAMPLES.get(name, "…")}".',
        )
    value = value.strip()
    return value[1:-1].strip() if QUOTED.fullmatch(value) else value


def words(kwargs: Mapping[str, Any], name: str) -> str:
    """Free text; a value of another type as text."""
    value = kwargs.get(name)
    return "" if value is None else str(value).strip()


def switch(kwargs: Mapping[str, Any], name: str, default: bool) -> bool:
    """A switch as a form, a trigger or JSON sends it; `default` when it is missing.

    Raises RequestError for anything else, also for null and an empty text: Mage's page may have
    replaced what was typed, and a misspelt preview must not run.
    """
    if name not in kwargs:
        return default
    value = kwargs[name]
    word = value.strip().lower() if isinstance(value, str) else json.dumps(value, default=str)
    if word not in SWITCH:
        given = repr(value) if isinstance(value, str) else f"{word}, as Mage's page sent it"
        raise RequestError(
            f"`{name}` is true or false, not {given if value != '' else 'empty'}.",
            "Nothing was done.",
        )
    return SWITCH[word]


def variables(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The dbt variables in `variables`: `name: value` lines, or a mapping from an API trigger.

    A mapping may also come from Mage's page, which reads `{"day": …}` as JSON. JavaScript replaces
    numbers that it cannot hold by others or by null. Raises BadVariable for those, and for what dbt
    cannot read.
    """
    given = kwargs.get("variables", "")
    if given is None:
        raise BadVariable("`variables` has come as null.", ONE_PER_LINE)
    if isinstance(given, Mapping):
        for name, value in given.items():
            if _changed_by_json(value):
                raise BadVariable(
                    f"The variable {name!r} has come as {json.dumps(value, default=str)}, which "
                    "Mage's page may have made of another number.",
                    ONE_PER_LINE,
                )
    return read(given)


def _changed_by_json(value: object) -> bool:
    """Whether JavaScript may have replaced a number in it."""
    if isinstance(value, Mapping):
        return any(map(_changed_by_json, value.values()))
    if isinstance(value, list):
        return any(map(_changed_by_json, value))
    return value is None or (isinstance(value, int | float) and abs(value) > EXACT_IN_JAVASCRIPT)
