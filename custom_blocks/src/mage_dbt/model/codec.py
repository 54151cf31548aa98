"""Values as plain JSON data and back, by pydantic: the one codec of the API, ledger and files.

What is read was checked when it was written, perhaps by another version of this package. So a field
that is not known is left out, one that is missing has its default, and a word that an enumeration
does not have stays as it was written.
"""

from __future__ import annotations

import ast
import inspect
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

Value = TypeVar("Value")


def described(schema: dict[str, Any], kind: type) -> None:
    """Adds the docstrings of a class's fields to its JSON schema, as their descriptions.

    pydantic's `use_attribute_docstrings` does so too, but has the module parsed for each of its
    classes, whenever one is first read or written: a third of the time that the server took to
    start. This is asked for with the OpenAPI document.
    """
    for above in reversed(kind.__mro__):
        for field, text in _docstrings(above.__module__).get(above.__qualname__, {}).items():
            if field in schema["properties"]:
                schema["properties"][field]["description"] = text


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """The docstrings of the fields of the module's classes."""
    found: dict[str, dict[str, str]] = {}
    # Not of the standard library: what a class inherits from there has no fields.
    source = inspect.getsource(sys.modules[module]) if module.startswith("mage_dbt.") else ""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                field.target.id: inspect.cleandoc(text.value.value)
                for field, text in pairwise(node.body)
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            }
    return found


DESCRIBED = ConfigDict(
    json_schema_extra=described, json_schema_serialization_defaults_required=True
)
"""For an answer of the API: its docstrings are the descriptions in the OpenAPI document."""

Moment = Annotated[
    datetime,
    BeforeValidator(
        lambda value: datetime.fromisoformat(value) if isinstance(value, str) else value
    ),
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time, as ISO 8601 with its offset, by Python: pydantic itself writes `Z` for UTC."""


@dataclass(frozen=True)
class AnyWord:
    """Marks a field of a StrEnum: a word that the enumeration does not have is read as well."""

    kind: type[StrEnum]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._member, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": [str(member) for member in self.kind]}

    def _member(self, value: str) -> StrEnum:
        with suppress(ValueError):
            return self.kind(value)
        unknown = str.__new__(self.kind, value)
        unknown._name_ = unknown._value_ = value
        return unknown


def read(kind: type[Value], data: Mapping[str, Any]) -> Value:
    """A `kind`, a frozen dataclass, from plain data. Raises ValueError where a type is wrong."""
    found: Value = _adapter(kind).validate_python(data)
    return found


def plain(value: object) -> dict[str, Any]:
    """Plain data that `read` reads back to an equal value."""
    data: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return data


def read_all(kind: type[Value], data: str | Sequence[Mapping[str, Any]]) -> tuple[Value, ...]:
    """Many values of one kind, from a JSON array or its plain data: sooner than one by one."""
    adapter = _adapter(tuple[kind, ...])  # type: ignore[valid-type]
    found: tuple[Value, ...] = (
        adapter.validate_json(data) if isinstance(data, str) else adapter.validate_python(data)
    )
    return found


def plain_all(kind: type[Value], values: Sequence[Value]) -> list[dict[str, Any]]:
    """Plain data of many values of one kind."""
    data: list[dict[str, Any]] = _adapter(tuple[kind, ...]).dump_python(  # type: ignore[valid-type]
        tuple(values), mode="json"
    )
    return data


_adapters: dict[Any, TypeAdapter[Any]] = {}
_making = threading.Lock()


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made when it is first needed, and once: that takes some milliseconds for a kind."""
    found = _adapters.get(kind)
    if found is None:
        with _making:
            found = _adapters[kind] = _adapters.get(kind) or TypeAdapter(kind)
    return found
