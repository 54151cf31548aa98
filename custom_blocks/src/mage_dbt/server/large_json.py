"""An answer of megabytes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse
from pydantic_core import to_json


@dataclass(frozen=True)
class PartlyWritten:
    """An object of which some fields are JSON already, as PostgreSQL writes it."""

    fields: Mapping[str, Any]
    """The others; at least one."""
    written: Mapping[str, str]

    def __or__(self, more: Mapping[str, Any]) -> PartlyWritten:
        """The same with more fields."""
        return PartlyWritten({**self.fields, **more}, self.written)


class LargeJson(JSONResponse):
    """The same as JSONResponse, in a third of the time. It takes what is partly written too."""

    def render(self, content: Any) -> bytes:
        if isinstance(content, PartlyWritten):
            parts = [self.render(content.fields).removesuffix(b"}")]
            for name, text in content.written.items():
                parts += [b",", to_json(name), b":", text.encode()]
            return b"".join([*parts, b"}"])
        return to_json(content, inf_nan_mode="null")
