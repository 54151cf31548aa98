"""Views that fall when dbt drops what it has rebuilt: kept, or put back, in the same run.

They are read at the run's turn and written to its folder, so they survive this process. Before dbt
drops a relation that it has replaced, the views on it are moved to the new one. What a node's SQL
has dropped all the same is put back when the node ends, and the rest when the command ends.
`put_back` does it for a run that was killed.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
from dbt_common.events.contextvars import get_node_info
from dbt_common.exceptions import DbtBaseException
from psycopg2.extensions import STATUS_READY, TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS

from mage_dbt.base.files import replace_file
from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.connection import open_connection
from mage_dbt.dbt.plan.drops import rows
from mage_dbt.dbt.refresh.steps import Steps
from mage_dbt.dbt.results.recorder import Recorder
from mage_dbt.model import codec
from mage_dbt.model.refresh import Step
from mage_dbt.model.run import PASSED, EventKind
from mage_dbt.warehouse import Target
from mage_dbt.warehouse.names import Name
from mage_dbt.warehouse.restore import How, Outcome, SavedView
from mage_dbt.warehouse.restore.postgres import (
    LOCK_SECONDS,
    PostgresRestorer,
    direct,
    formers_of,
    standing_name,
)
from mage_dbt.warehouse.session import words

FILE = "dropped_views.json"
"""In the run's folder, from the run's turn on until all views are there."""

POPULATE_SECONDS = 20.0
"""How long a materialized view of a killed run may take to be filled; `left_sessions.py` allows a
minute for all."""

KILLED_LOCK_SECONDS = 8.0
"""How long it is tried to get locks then."""

MOVE_LOCK_SECONDS = 300.0
"""How long it is tried before dbt's own drop waits, for ever, and lets no new reader through."""

MODE = 0o600
"""A view's query may hold what nobody else should read."""

Report = Callable[[str, str], None]
"""Takes a sentence for people, and its level in a log."""


class DroppedViews:
    """The views on what one run writes. dbt calls it from many threads."""

    def __init__(
        self,
        folder: Path,
        credentials: Any,
        targets: Sequence[Target],
        report: Report,
        views: Sequence[SavedView] = (),
    ) -> None:
        self._file = folder / FILE
        self._credentials = credentials
        self._targets = targets
        self._report = report
        self._nodes = {standing_name(target.rendered): target.node for target in targets}
        self._formers = formers_of(targets)
        self._guard = threading.Lock()
        self._views: dict[Name, SavedView] = {}
        self._readers: dict[str, dict[Name, None]] = {}
        """The views that are not the run's own, by the nodes that they read."""
        self._remember(views)
        self._built: set[str] = set()
        self._moved: set[str] = set()
        self._reported: set[tuple[Name, How]] = set()
        self._adapter: Any = None

    def save(self) -> None:
        """Reads the views before dbt's first statement."""
        try:
            with self._restorer() as restorer:
                found = restorer.read(self._targets)
        except (psycopg2.Error, DbtBaseException) as error:
            self._report(
                "The views on what this run rebuilds could not be read, so those that fall are not "
                f"put back: {_words(error)}.",
                "warn",
            )
            return
        self._add(found)

    def watch(self, adapter: Any) -> None:
        """From now on this adapter moves views before it drops what they read.

        What a transaction of dbt's has dropped is put back before it commits.
        """
        self._adapter = adapter
        drop, commit = adapter.drop_relation, adapter.commit_if_has_connection

        def drop_relation(relation: Any) -> Any:
            try:
                name = standing_name(str(relation))
                if name in self._formers:
                    self._move(adapter, name)
                elif name in self._nodes:
                    self._lock(adapter, name)
            except Exception:  # then they fall, and are put back later
                traceback.print_exc()
            return drop(relation)

        def commit_if_has_connection() -> None:
            outcomes: list[Outcome] = []
            try:
                outcomes = self._restored_within(adapter)
            except Exception:
                traceback.print_exc()
            commit()
            self._note(outcomes, at_end=False)

        adapter.drop_relation = drop_relation
        adapter.commit_if_has_connection = commit_if_has_connection

    def node_ended(self, node: str, status: str) -> None:
        """Puts back what this node has dropped along, as far as it fits already. Never raises."""
        if status == "skipped":
            return
        if status in PASSED:
            self._built.add(node)
        fallen = self._reading(node)
        if not fallen or node in self._moved:
            return
        try:
            with self._restorer() as restorer:
                self._note(restorer.restore(fallen), at_end=False)
        except Exception:  # then they are put back at the end
            traceback.print_exc()

    def end(self) -> bool:
        """Puts back what is still missing, and says what does not fit. False where it could not."""
        try:
            self.finish()
        except (psycopg2.Error, DbtBaseException) as error:
            self._report(could_not_look(error), "warn")
            return False
        return True

    def finish(
        self, populate_seconds: float | None = None, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        """Does what `end` does. Raises psycopg2.Error, or dbt's FailedToConnectError."""
        if not self._views:
            return
        with self._restorer(lock_seconds) as restorer:
            for former in restorer.standing([*self._formers]):
                self._note(self._moved_by(restorer, former), at_end=False)
                if restorer.is_read(former):
                    self._report(still_read(former, self._formers[former]), "warn")
            missing = [view for view in self._all() if view.node not in self._built]
            failed = self._note(restorer.restore(missing, populate_seconds), at_end=True)
        if failed:
            self._write(failed, over=True)
        else:
            self._file.unlink(missing_ok=True)

    # ----------------------------------------------------------------- moving

    def _restored_within(self, adapter: Any) -> list[Outcome]:
        """What came back in dbt's own transaction: then nobody sees that it was gone."""
        node = str((get_node_info() or {}).get("unique_id", ""))  # of this thread
        fallen = self._reading(node)
        if not fallen:
            return []
        handle = adapter.connections.get_thread_connection().handle
        if handle.info.transaction_status != TRANSACTION_STATUS_INTRANS:
            return []
        return PostgresRestorer(handle, 0.0, is_within=True).restore(fallen)

    def _lock(self, adapter: Any, name: Name) -> None:
        """Before dbt drops a relation within its transaction: a seed."""
        handle = adapter.connections.get_thread_connection().handle
        begins = handle.status == STATUS_READY  # psycopg2 begins one with the next statement
        if not begins and handle.info.transaction_status != TRANSACTION_STATUS_INTRANS:
            return
        target = next(target for target in self._targets if target.node == self._nodes[name])
        restorer = PostgresRestorer(handle, MOVE_LOCK_SECONDS, is_within=True)
        views = restorer.read([target])
        restorer.lock(views)
        # Also those that were made, or changed, since the run's turn.
        others = {view.name: view.nodes for view in self._reading(target.node)}
        self._add(
            [
                replace(view, nodes=tuple({*view.nodes, *others.get(view.name, ())}))
                for view in views
                if view.name not in self._nodes
            ]
        )

    def _move(self, adapter: Any, former: Name) -> None:
        connection = adapter.connections.get_thread_connection()
        if connection.transaction_open:
            return
        if connection.handle.info.transaction_status != TRANSACTION_STATUS_IDLE:
            return  # with locks of its own it could wait for us, and we for it
        if rows(adapter, direct(former)):
            with self._restorer(MOVE_LOCK_SECONDS) as restorer:
                outcomes = self._moved_by(restorer, former)
            self._note(outcomes, at_end=False)
            self._keep_in_cache(former, outcomes)
            if rows(adapter, direct(former)) or any(
                outcome.how is How.GONE for outcome in outcomes
            ):
                return
        self._moved.add(self._nodes[self._formers[former]])

    def _moved_by(self, restorer: PostgresRestorer, former: Name) -> list[Outcome]:
        to = self._formers[former]
        return restorer.move(former, to, self._all(), self._nodes, self._add)

    def _keep_in_cache(self, former: Name, outcomes: Sequence[Outcome]) -> None:
        """dbt's cache takes along what depended on a dropped relation; these views stay."""
        stay = {_key(outcome.view.name) for outcome in outcomes if outcome.how is not How.GONE}
        cache = self._adapter.cache
        with cache.lock:
            for cached in cache.relations.values():
                if (cached.schema, cached.identifier) == _key(former):
                    cached.release_references(
                        [
                            key
                            for key in cached.referenced_by
                            if (key.schema, key.identifier) in stay
                        ]
                    )

    def _cache(self, view: SavedView) -> None:
        """dbt sees again a view that was dropped with its knowledge."""
        if self._adapter is None:
            return
        database, (schema, name) = self._credentials.database, (view.name.schema, view.name.name)
        if (database, schema) in self._adapter.cache:
            kind = view.kind.replace(" ", "_")
            relation = self._adapter.Relation.create(database, schema, name, kind)
            self._adapter.cache_added(relation)

    # -------------------------------------------------------------- reporting

    def _note(self, outcomes: Sequence[Outcome], at_end: bool) -> list[SavedView]:
        """Remembers and says what became of views; returns those that are gone."""
        kept, gone = [], []
        for outcome in outcomes:
            view = outcome.view
            if outcome.how is How.GONE:
                if at_end and not view.node:
                    gone.append(view)
                    self._report(could_not(outcome), "warn")
                continue
            with self._guard:
                self._views[view.name] = view
                new = (view.name, outcome.how) not in self._reported
                self._reported.add((view.name, outcome.how))
            if outcome.how is How.BACK:
                self._cache(view)
            if not new or (view.node and not at_end):
                continue  # dbt builds it anyway
            if outcome.how is How.KEPT:
                kept.append(view.name.shown)
            else:
                self._report(is_back(outcome), "info")
        if kept:
            many = len(kept) > 1
            self._report(
                f"The view{'s' if many else ''} {short_list(kept)} read{'' if many else 's'} the "
                f"new relation and {'were' if many else 'was'} not dropped along.",
                "info",
            )
        return gone

    # ---------------------------------------------------------------- keeping

    def _all(self) -> list[SavedView]:
        with self._guard:
            return [*self._views.values()]

    def _reading(self, node: str) -> list[SavedView]:
        """The others' views on this node's relation, each after what it reads."""
        with self._guard:
            return [self._views[name] for name in self._readers.get(node, ())]

    def _remember(self, views: Sequence[SavedView]) -> None:
        for view in views:
            self._views[view.name] = view
            for node in view.nodes:
                self._readers.setdefault(node, {})[view.name] = None

    def _add(self, views: Sequence[SavedView]) -> None:
        """Remembers these views, in the run's folder too, before anything drops them."""
        with self._guard:
            self._remember(views)
            if self._views:
                self._write([*self._views.values()])

    def _write(self, views: Sequence[SavedView], over: bool = False) -> None:
        content = {
            "over": over,
            "targets": [codec.plain(target) for target in self._targets],
            "views": [view.to_json() for view in views],
        }
        replace_file(self._file, json.dumps(content), MODE)

    @contextmanager
    def _restorer(self, lock_seconds: float = LOCK_SECONDS) -> Iterator[PostgresRestorer]:
        connection = open_connection(self._credentials)
        try:
            yield PostgresRestorer(connection, lock_seconds)
        finally:
            connection.close()


def of_run(
    folder: Path, credentials: Any, targets: Sequence[Target], recorder: Recorder
) -> DroppedViews:
    """Those of a run that is about to begin."""
    steps = Steps(recorder)

    def report(text: str, level: str) -> None:
        steps.write(Step.RESTORED, text)
        recorder.write(EventKind.LOG, level=level, text=text)

    return DroppedViews(folder, credentials, targets, report)


def put_back(folder: Path, credentials: Any) -> list[str]:
    """Puts back what a killed run has dropped along; returns sentences on it.

    Raises psycopg2.OperationalError, or dbt's FailedToConnectError: then it is to be tried again.
    """
    try:
        content = json.loads((folder / FILE).read_text())
        targets = [codec.read(Target, target) for target in content["targets"]]
        views = [SavedView.from_json(view) for view in content["views"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError) as error:
        return [f"{FILE} in the run's folder cannot be read: {scrub(str(error))}."]
    sentences: list[str] = []

    def report(text: str, _: str) -> None:
        sentences.append(scrub(text))

    if not content["over"]:
        found = DroppedViews(folder, credentials, targets, report, views)
        try:
            found.finish(POPULATE_SECONDS, KILLED_LOCK_SECONDS)
        except psycopg2.OperationalError:
            raise
        except psycopg2.Error as error:
            sentences.append(could_not_look(error))
    return sentences


def could_not_look(error: Exception) -> str:
    return (
        f"Views that were dropped along could not be put back: {_words(error)}. What they were "
        f"stands in the run's folder, in {FILE}."
    )


def is_back(outcome: Outcome) -> str:
    """`The view bi.orders was dropped along and is back, with its grants.`"""
    how = f"but {'; '.join(outcome.notes)}" if outcome.notes else "with its grants"
    return f"The {outcome.view} was dropped along and is back, {how}."


def still_read(former: Name, to: Name) -> str:
    return (
        f"The views on {to} still read its rows from before this run, in {former}: a lock was in "
        "the way. The next run that builds it has them read the new ones."
    )


def could_not(outcome: Outcome) -> str:
    """A sentence with the server's reason, and all that is needed to make the view by hand."""
    view = outcome.view
    return (
        f"The {view} was dropped along and could not be put back: {outcome.problem}; its "
        f"definition: create {view.kind} {view.name} as {view.definition.strip()}; its owner: "
        f"{view.owner}."
    )


def _key(name: Name) -> tuple[str, str]:
    """As dbt's cache has it."""
    return name.schema.lower(), name.name.lower()


def _words(error: Exception) -> str:
    return words(error) if isinstance(error, psycopg2.Error) else scrub(str(error).strip())
