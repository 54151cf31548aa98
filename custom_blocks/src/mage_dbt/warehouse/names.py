"""A relation's identity: database, schema and name as the server reads them.

dbt renders a name with or without quotes, as the project configures. The server folds parts without
quotes. So two spellings may be one relation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PART = re.compile(r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|([^."`\[]+)')
"""A part of a rendered name: in the quotes of some server, or without."""

PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
"""A part that needs no quotes, if it is no word of the server's."""


@dataclass(frozen=True)
class Name:
    """A relation's name as the server has it. Database and schema may be empty."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        parts = [part for part in (self.database, self.schema) if part]
        return ".".join(quoted(part) for part in (*parts, self.name))

    @property
    def shown(self) -> str:
        """As people write it: schema and name, with quotes where they are needed."""
        parts = (part for part in (self.schema, self.name) if part)
        return ".".join(part if PLAIN.fullmatch(part) else quoted(part) for part in parts)


@dataclass(frozen=True)
class Folding:
    """How a server reads a rendered name."""

    bare: Callable[[str], str]
    """Folds a part without quotes."""
    longest: int | None = None
    """Bytes of a part; the server cuts off the rest."""
    quotes_count: bool = False
    """Whether a part in quotes is not folded."""

    def name(self, rendered: str) -> Name:
        """The name that was rendered. Raises ValueError if it is no name."""
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
            text = next(group for group in found.groups() if group is not None).replace('""', '"')
            text = text if self.quotes_count else self.bare(text)
        if self.longest is None:
            return text
        return text.encode()[: self.longest].decode(errors="ignore")


def lower(text: str) -> str:
    return text.lower()


def quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
