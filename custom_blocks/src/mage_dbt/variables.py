"""dbt variables: read as `dbt --vars` reads them, and written so that each border gives them back.

dbt takes YAML, whose values JSON does not all have: dates, a mapping in an order of its own, keys
that are no text. So variables that JSON, and PostgreSQL's jsonb, would give back as they are stand
there as an object; any others as the YAML text that dbt would be given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mage_dbt.errors import BadVariable
from mage_dbt.text import NO_CHARACTER

MOST = 200
"""Variables of one request."""

MOST_PARTS = 10_000
"""Values inside all of them together; YAML's aliases can make a few lines into billions."""

LONGEST = 20_000
"""Characters of all of them together, as YAML."""

NAME = re.compile(r"[A-Za-z_][\w:.-]{0,199}")

ONE_A_LINE = "Write one `name: value` a line."


def read(given: object) -> dict[str, Any]:
    """Variables of a mapping, or of text that `dbt --vars` would take.

    Raises BadVariable, with the name or the line.
    """
    if isinstance(given, str):
        given = _parse(given)
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping):
        raise BadVariable(f"Variables are names with values, not {given!r}.", ONE_A_LINE)
    if len(given) > MOST:
        raise BadVariable(f"More than {MOST} variables.")
    parts = 0
    for name, value in given.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise BadVariable(
                f"{name!r} is not a variable's name.",
                "It begins with a letter; digits, _, :, . and - may follow.",
            )
        for part in _parts(value):
            parts += 1
            if parts > MOST_PARTS:
                raise BadVariable(f"The variables hold more than {MOST_PARTS} values.")
            if isinstance(part, str) and NO_CHARACTER.search(part):
                raise BadVariable(
                    f"The variable {name!r} holds what is no character (NUL, or half of a pair).",
                    "Leave it out.",
                )
    plain = {name: _plain(value) for name, value in given.items()}
    for name, value in plain.items():
        if repr(_back({name: value})) != repr({name: value}):
            raise BadVariable(
                f"dbt would not read the variable {name!r} back as it is.",
                "A value is text, a number, true, false, null, a date, or a list or mapping of "
                "these.",
            )
    if len(to_yaml(plain)) > LONGEST:
        raise BadVariable("The variables are too long.")
    return plain


def to_yaml(variables: Mapping[str, Any]) -> str:
    """What dbt is given as `--vars`; the same text for the same variables."""
    return str(yaml.safe_dump(dict(sorted(variables.items())), sort_keys=False))


def to_json(variables: Mapping[str, Any]) -> dict[str, Any] | str:
    """An object where jsonb gives the same back, else YAML; `from_json` takes both."""
    plain = dict(variables)
    return plain if all(map(_in_json, plain.values())) else to_yaml(plain)


def from_json(data: Mapping[str, Any] | str) -> dict[str, Any]:
    """What `to_json` gave, unchecked."""
    return dict(yaml.safe_load(data) if isinstance(data, str) else data)


def _parse(text: str) -> object:
    try:
        if len(text) > LONGEST:
            raise BadVariable("The variables are too long.")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # ValueError: what looks like a date and is none.
        raise BadVariable(f"The variables cannot be read: {error}", ONE_A_LINE) from None


def _back(variables: dict[str, Any]) -> object:
    """The variables as dbt reads what it is given; None when they cannot be written."""
    try:
        return yaml.safe_load(to_yaml(variables))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None


def _parts(value: object) -> Iterator[object]:
    """`value` and all inside it."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set):
            waiting += part


def _plain(value: Any) -> Any:
    """Mappings and lists of other kinds as YAML gives them."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _in_json(value: Any) -> bool:
    """Whether jsonb gives the same value back."""
    if isinstance(value, dict):
        names = list(value)
        if not all(isinstance(one, str) for one in names):
            return False
        # jsonb keeps no order but this one.
        ordered = sorted(names, key=lambda one: (len(one.encode()), one.encode()))
        return names == ordered and all(map(_in_json, value.values()))
    if isinstance(value, list):
        return all(map(_in_json, value))
    if isinstance(value, float):
        # jsonb knows neither infinities nor -0.0, and gives 1e+22 back as a whole number.
        return math.isfinite(value) and "e" not in repr(value) and repr(value) != "-0.0"
    return value is None or isinstance(value, bool | int | str)
