"""The JSON schemas of dbt's classes, by which a parse checks each node and each YAML block."""

from __future__ import annotations

from types import NoneType
from typing import Any

from mage_dbt.dbt.patches.patch import Patch

PLAIN = (NoneType, bool, int, float, str)
"""Types whose values are in JSON what they are in Python."""


def patches() -> tuple[Patch, ...]:
    return (
        Patch(
            "mashumaro.jsonschema.schema:_default",
            _plain_as_it_is,
            sources=("0eb4e423e0146f8c",),
            why="A class is made, with code of its own, to write each default as JSON: 700 classes "
            "for values that are plain or empty.",
        ),
    )


def _plain_as_it_is(original: Any) -> Any:
    def default(kind: Any, value: Any, config: Any) -> Any:
        if type(value) in PLAIN:
            return value
        if type(value) in (list, dict) and not value:
            return type(value)()
        return original(kind, value, config)

    return default
