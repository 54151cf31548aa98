"""The interface of the process that parses for the store. The pool of workers implements it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from mage_dbt.commits.graph_key import GraphKey
from mage_dbt.model.commit import Commit


class ParserGone(Exception):
    """The parsing process has ended or could not be started; the text says why."""


class Parsing(Protocol):
    """One commit being parsed for the first time."""

    def answer(self, seconds: float) -> dict[str, Any]:
        """dbt's answer about the commit; `failed` in it is empty, or says who failed.

        Raises ParserGone when the process ended first, TimeoutError after `seconds`.
        """

    def keep(self) -> None:
        """Keeps the process: runs with its key fork from it."""


class Parser(Protocol):
    """Lets dbt parse projects."""

    def parse(
        self, key: GraphKey, folder: Path, environment: Mapping[str, str], packages: Path
    ) -> AbstractContextManager[Parsing]:
        """Starts to parse a new commit in `folder`. Its packages come from the store `packages`.

        The process ends with the `with` block unless it is kept. Raises ParserGone.
        """

    def describe(
        self, commit: Commit, key: GraphKey, variables: Mapping[str, Any], whole: bool = False
    ) -> dict[str, Any]:
        """dbt's answer about a ready commit with this key; `whole`: with the text of graph.json.

        Raises RequestError with dbt's message, WorkspaceError when no process got to its end.
        """

    def keep(self, key: GraphKey, parsed: Path) -> None:
        """Keeps a process ready for runs of the live commit with this key. Call it repeatedly."""
