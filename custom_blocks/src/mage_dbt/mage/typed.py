"""What somebody has typed into Mage, as a block finds it among its arguments.

Mage's page reads each typed value as JSON before it sends it: `535e545` arrives as null, `9978e07`
as 99780000000. A patch keeps a text a text where the pipeline's own value is one, but a browser may
still have the page from before it. So what identifies something is believed only as a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mage_dbt.errors import BadVariable, RequestError
from mage_dbt.variables import ONE_A_LINE, read

SWITCH: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

EXAMPLES: Mapping[str, str] = {"commit": "535e545", "failed_run": "20261123-080000-4f2a9c"}
"""Of texts that are hard to tell from numbers."""

QUOTED = re.compile(r'"[^"]*"')

EXACT_IN_JAVASCRIPT = 2**53 - 1


def text(kwargs: Mapping[str, Any], name: str) -> str:
    """What was given as text, without the double quotes that somebody may have typed around it.

    Raises RequestError for anything else: where Mage's page reads a typed value as JSON, the
    commit 535e545 arrives as null and 9978e07 as 99780000000. What was typed is then gone.
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
    """Free text, whatever Mage's page made of it."""
    value = kwargs.get(name)
    return "" if value is None else str(value).strip()


def switch(kwargs: Mapping[str, Any], name: str, default: bool) -> bool:
    """A switch as a form, a trigger or JSON gives it; `default` where none was given.

    Raises RequestError for anything else, null and an emptied box too, which Mage's page may have
    made of what was typed: a preview that was misspelt must not run.
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
    """The variable `variables`: `name: value` lines, or a mapping from an API trigger.

    A mapping may also be what Mage's page has made of `{"day": …}`: numbers that it cannot hold
    come as others, or as null. Raises BadVariable for those, as for what dbt could not read.
    """
    given = kwargs.get("variables", "")
    if given is None:
        raise BadVariable("`variables` has come as null.", ONE_A_LINE)
    if isinstance(given, Mapping):
        for name, value in given.items():
            if _changed_by_json(value):
                raise BadVariable(
                    f"The variable {name!r} has come as {json.dumps(value, default=str)}, which "
                    "Mage's page may have made of another number.",
                    ONE_A_LINE,
                )
    return read(given)


def _changed_by_json(value: object) -> bool:
    """Whether JavaScript may have read another number in its place."""
    if isinstance(value, Mapping):
        return any(map(_changed_by_json, value.values()))
    if isinstance(value, list):
        return any(map(_changed_by_json, value))
    return value is None or (isinstance(value, int | float) and abs(value) > EXACT_IN_JAVASCRIPT)
