"""What the warehouse holds beside what the models of a commit say."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mage_dbt.base.tool_command import tool_command
from mage_dbt.model import codec
from mage_dbt.model.codec import Moment
from mage_dbt.model.refresh import ColumnChange, Kept


@dataclass(frozen=True)
class ColumnsChanged:
    """An incremental model whose columns are not those of its table."""

    __pydantic_config__ = codec.DESCRIBED

    node: str
    name: str
    relation: str
    on_schema_change: str
    """dbt's setting: ignore, fail, append_new_columns or sync_all_columns."""
    columns: tuple[ColumnChange, ...] = ()
    refreshable: bool = True
    """False where `full_refresh: false` in the configuration keeps the rows."""

    @property
    def sentence(self) -> str:
        """`fct_orders: 1 column in the model is not in the table (discount); on_schema_change
        ignores it.`"""
        parts = []
        for what, where, changes in (
            ("in the model", "not in the table", self._added),
            ("in the table", "not in the model", self._removed),
        ):
            if changes:
                names = ", ".join(change.name for change in changes)
                many = len(changes) > 1
                parts.append(
                    f"{len(changes)} column{'s' if many else ''} {what} {'are' if many else 'is'} "
                    f"{where} ({names})"
                )
        others = [str(change) for change in self.columns if change.before and change.after]
        if others:
            parts.append(f"another type: {', '.join(others)}")
        return f"{self.name}: {'; '.join(parts)}; on_schema_change {self._does}."

    @property
    def question(self) -> str:
        """The same, and how to refresh: `...; refresh? ./scripts/mage-dbt run full_refresh ...`"""
        if not self.refreshable:
            return f"{self.sentence} `full_refresh: false` in its configuration forbids a refresh."
        return f"{self.sentence.removesuffix('.')}; refresh? {self.command}"

    @property
    def command(self) -> str:
        """The command of a refresh, as people type it."""
        return tool_command(f"run full_refresh --model {shlex.quote(self.name)}")

    @property
    def _added(self) -> list[ColumnChange]:
        return [change for change in self.columns if not change.before]

    @property
    def _removed(self) -> list[ColumnChange]:
        return [change for change in self.columns if not change.after]

    @property
    def _does(self) -> str:
        """What the next build makes of it, by dbt's documentation of `on_schema_change`."""
        them = "them" if len(self.columns) > 1 else "it"
        if self.on_schema_change == "fail":
            return "makes the next build fail"
        if self.on_schema_change == "sync_all_columns":
            return "follows the model with the next build, and leaves new columns of old rows empty"
        if self.on_schema_change == "append_new_columns":
            if self._added:
                return "adds new columns with the next build, and leaves them empty in old rows"
            return f"leaves {them} as {'they are' if len(self.columns) > 1 else 'it is'}"
        return f"ignores {them}" + (", and the next build fails" if self._removed else "")

    def to_json(self) -> dict[str, Any]:
        return codec.plain(self) | {"sentence": self.sentence, "command": self.command}


@dataclass(frozen=True)
class Survey:
    """What the warehouse holds now, beside the models: looked up there, not remembered."""

    __pydantic_config__ = codec.DESCRIBED

    commit: str
    at: Moment
    changed: tuple[ColumnsChanged, ...] = ()
    kept: tuple[Kept, ...] = ()
    unknown: str = ""
    """Why it is not known, or for which models; empty when all of it is."""

    def of(self, nodes: Collection[str]) -> list[ColumnsChanged]:
        """The changes of these nodes."""
        return [model for model in self.changed if model.node in nodes]

    @property
    def kept_bytes(self) -> int:
        return sum(version.bytes for version in self.kept)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Survey:
        return codec.read(cls, data)

    def to_json(self) -> dict[str, Any]:
        changed = [model.to_json() for model in self.changed]
        return codec.plain(self) | {"changed": changed, "kept_bytes": self.kept_bytes}
