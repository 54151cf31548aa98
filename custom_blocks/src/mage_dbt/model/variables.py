"""dbt variables: parsed as `dbt --vars` parses them, and written so that they are read back equal.

dbt takes YAML, which has values that JSON lacks: dates, mappings with an order, keys that are no
text. Variables that JSON and PostgreSQL's jsonb keep unchanged are written as an object; others as
the YAML text that dbt gets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import PlainSerializer, PlainValidator

from mage_dbt.base.redaction import STARS, hides_its_value, scrub
from mage_dbt.base.text import NO_CHARACTER
from mage_dbt.errors import BadVariable

MOST = 200
"""The number of variables of one request."""

MOST_PARTS = 10_000
"""The number of values inside all variables; YAML's aliases can expand a few lines to billions."""

LONGEST = 20_000
"""Characters of all variables together, as YAML."""

NAME = re.compile(r"[A-Za-z_][\w:.-]{0,199}")

ONE_PER_LINE = "Write one `name: value` per line."


def read(given: object) -> dict[str, Any]:
    """Checks variables given as a mapping, or as text that `dbt --vars` takes.

    Raises BadVariable, with the name or the line.
    """
    if isinstance(given, str):
        given = _parse(given)
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping):
        raise BadVariable(f"Variables are names with values, not {given!r}.", ONE_PER_LINE)
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
    """The text for `--vars`; the same for the same variables."""
    return str(yaml.safe_dump(dict(sorted(variables.items())), sort_keys=False))


def to_json(variables: Mapping[str, Any]) -> dict[str, Any] | str:
    """An object where jsonb keeps it unchanged, else YAML; `from_json` reads both."""
    plain = dict(variables)
    return plain if all(map(_in_json, plain.values())) else to_yaml(plain)


def from_json(data: Mapping[str, Any] | str) -> dict[str, Any]:
    """Reads the data of `to_json`, unchecked."""
    return dict(yaml.safe_load(data) if isinstance(data, str) else data)


def shown(variables: dict[str, Any] | str) -> dict[str, Any] | str:
    """Written variables (`to_json`) for a reader: without what is secret by its name or known."""
    return to_json({name: _shown(name, value) for name, value in from_json(variables).items()})


def _shown(name: object, value: Any) -> Any:
    if isinstance(name, str) and hides_its_value(name):
        return STARS
    if isinstance(value, Mapping):
        return {key: _shown(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown("", inner) for inner in value]
    return scrub(value) if isinstance(value, str) else value


Variables = Annotated[
    Mapping[str, Any],
    PlainValidator(lambda data: MappingProxyType(from_json(data))),
    PlainSerializer(to_json),
]
"""Checked variables, as a field of a value that goes through JSON."""


def _parse(text: str) -> object:
    try:
        if len(text) > LONGEST:
            raise BadVariable("The variables are too long.")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # ValueError: what looks like a date and is none.
        raise BadVariable(f"The variables cannot be read: {error}", ONE_PER_LINE) from None


def _back(variables: dict[str, Any]) -> object:
    """The variables as dbt would read them; None when YAML cannot hold them."""
    try:
        return yaml.safe_load(to_yaml(variables))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None


def _parts(value: object) -> Iterator[object]:
    """`value` and every value inside it."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set):
            waiting += part


def _plain(value: Any) -> Any:
    """The value with plain dicts and lists, as YAML gives them."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _in_json(value: Any) -> bool:
    """Whether jsonb keeps the value unchanged."""
    if isinstance(value, dict):
        names = list(value)
        if not all(isinstance(name, str) for name in names):
            return False
        # jsonb keeps no order but this one.
        ordered = sorted(names, key=lambda name: (len(name.encode()), name.encode()))
        return names == ordered and all(map(_in_json, value.values()))
    if isinstance(value, list):
        return all(map(_in_json, value))
    if isinstance(value, float):
        # jsonb knows neither infinities nor -0.0, and gives 1e+22 back as a whole number.
        return math.isfinite(value) and "e" not in repr(value) and repr(value) != "-0.0"
    return value is None or isinstance(value, bool | int | str)
