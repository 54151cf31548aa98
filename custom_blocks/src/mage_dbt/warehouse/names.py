"""A relation's identity: database, schema and name as the server reads them.

dbt renders a name with quotes or without, as the project configures it; the server folds what has
none. Two spellings of one relation are one relation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PART = re.compile(r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|([^."`\[]+)')
"""A part of a rendered name: in the quotes of one server or another, or bare."""


@dataclass(frozen=True)
class Name:
    """What the server knows a relation by. The database may be empty, the schema too."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        parts = [one for one in (self.database, self.schema) if one]
        return ".".join(quoted(one) for one in (*parts, self.name))


@dataclass(frozen=True)
class Folding:
    """How a server reads a rendered name."""

    bare: Callable[[str], str]
    """What it makes of a part without quotes."""
    longest: int | None = None
    """Bytes of a part; it cuts off the rest."""
    quotes_count: bool = False
    """Whether a part in quotes stays as it is written."""

    def name(self, rendered: str) -> Name:
        """Raises ValueError for what is no name."""
        parts = [self._part(found) for found in PART.finditer(rendered)]
        if not 1 <= len(parts) <= 3:
            raise ValueError(f"{rendered!r} is no relation's name")
        return Name(*("",) * (3 - len(parts)), *parts)

    def identity(self, rendered: str) -> str:
        """The same text for every spelling of one relation."""
        try:
            return str(self.name(rendered))
        except ValueError:  # an adapter that names relations in some other way
            return rendered

    def _part(self, found: re.Match[str]) -> str:
        bare = found[4]
        if bare is not None:
            text = self.bare(bare)
        else:
            text = next(one for one in found.groups() if one is not None).replace('""', '"')
            text = text if self.quotes_count else self.bare(text)
        if self.longest is None:
            return text
        return text.encode()[: self.longest].decode(errors="ignore")


def lower(text: str) -> str:
    return text.lower()


def quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
