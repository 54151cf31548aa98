"""Views on PostgreSQL that fall with what they read: moved to the new relation, or made again.

CREATE OR REPLACE VIEW has a view read the new relation and keeps all else that it has, so nobody
misses it. That does not do for a materialized view, for a view whose columns change, or for one of
another owner. Such a view is dropped and made again in one transaction.

A transaction waits for a lock less long than PostgreSQL waits before it looks for a deadlock. So no
reader's statement is ever the one that a deadlock ends.
"""

from __future__ import annotations

import random
import secrets
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

import psycopg2
import psycopg2.errors

from mage_dbt.warehouse import Target
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.postgres import Postgres, asides, literal
from mage_dbt.warehouse.restore import (
    MATERIALIZED_VIEW,
    VIEW,
    How,
    Outcome,
    Right,
    SavedView,
    Statement,
    groups,
    reaching,
)
from mage_dbt.warehouse.restore.catalog import DIRECT, MORE, RIGHTS, STANDING, VIEWS
from mage_dbt.warehouse.session import Session, words

LOCK_MILLISECONDS = 700
"""How long one try waits for a lock: less than deadlock_timeout, which is a second."""

LOCK_SECONDS = 30.0
"""How long it is tried again, in all."""

BETWEEN_SECONDS = (0.1, 0.5)
"""Shortest and longest time between two tries, in which readers get through."""

KINDS = {"v": VIEW, "m": MATERIALIZED_VIEW, "r": "table", "p": "table"}
"""By `pg_class.relkind`."""

BUSY = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)

THERE = (psycopg2.errors.DuplicateTable, psycopg2.errors.UniqueViolation)
"""Somebody else has made a relation of that name in the same moment."""

Answer = TypeVar("Answer")


class NotTheSame(Exception):
    """Another view stands under the name."""


class Within(Session):
    """Somebody else's transaction, which stays open. What fails here is taken back alone."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute("savepoint mage_dbt_within")
        names = ("lock_timeout", "search_path")
        before = [(name, self._setting(name)) for name in names]
        try:
            yield
        except BaseException:
            with suppress(psycopg2.Error):
                self.execute("rollback to savepoint mage_dbt_within")
            raise
        for name, value in before:
            self.rows("select pg_catalog.set_config(%s, %s, true)", (name, value))
        self.execute("release savepoint mage_dbt_within")

    def _setting(self, name: str) -> str:
        rows = self.rows("select pg_catalog.current_setting(%s) as value", (name,))
        return str(rows[0]["value"])


class PostgresRestorer:
    """Reads views and makes them again, over a psycopg2 connection, as the role that dbt uses."""

    def __init__(
        self, connection: Any, lock_seconds: float = LOCK_SECONDS, is_within: bool = False
    ) -> None:
        """`lock_seconds` is how long one call tries to get its locks.

        The connection is its own or, with `is_within`, somebody else's in a transaction. There
        materialized views are left out: while they were filled, nobody could read what the
        transaction has locked.
        """
        self._session = Within(connection) if is_within else Session(connection)
        self._lock_seconds = lock_seconds
        self._is_within = is_within
        self._path = ""

    # ---------------------------------------------------------------- reading

    def read(self, targets: Sequence[Target]) -> list[SavedView]:
        """The views on the relations of these targets, at all levels, each after what it reads."""
        nodes = {standing_name(target.rendered): target.node for target in targets}
        former = formers_of(targets)
        deadline = time.monotonic() + self._lock_seconds
        return self._patiently(lambda: self._read_all(nodes, former), deadline)

    def _read_all(self, nodes: Mapping[Name, str], former: Mapping[Name, Name]) -> list[SavedView]:
        """Views on what a killed run has left count as views on what it had built."""
        with self._session.transaction():
            self._begin()
            left = [name for name in self._standing([*former]) if self._direct(name)]
            if not left:
                return self._read([*nodes], nodes)
            self._session.execute("savepoint mage_dbt_marks")
            marks = {self._mark(name): former[name] for name in left}
            known = {**nodes, **{mark: nodes[name] for mark, name in marks.items()}}
            views = self._read([*known], known)
            self._session.execute("rollback to savepoint mage_dbt_marks")
            for mark, name in marks.items():
                views = [view.renamed(mark.name, self._ident(name.name)) for view in views]
            return views

    def standing(self, names: Sequence[Name]) -> list[Name]:
        """Those under which something stands."""
        return [*self._standing(names)]

    def is_read(self, name: Name) -> bool:
        """Whether a view reads this relation directly."""
        return bool(self._direct(name))

    def _standing(self, names: Sequence[Name]) -> dict[Name, tuple[int, str]]:
        """OID and kind of what stands under these names."""
        return {
            Name("", row["schema"], row["name"]): (row["oid"], row["kind"])
            for row in self._session.rows(STANDING, _columns(names))
        }

    def _direct(self, name: Name) -> list[dict[str, Any]]:
        return self._session.rows(direct(name))

    def _read(self, roots: Sequence[Name], nodes: Mapping[Name, str]) -> list[SavedView]:
        """The views on `roots`, each after what it reads; `nodes` write relations."""
        rows = self._session.rows(VIEWS, _columns(roots))
        if not rows:
            return []
        oids = {"oids": [row["oid"] for row in rows]}
        rights: dict[int, list[Right]] = {}
        for row in self._session.rows(RIGHTS, oids):
            rights.setdefault(row["oid"], []).append(_right(row))
        more: dict[int, list[Statement]] = {}
        for row in self._session.rows(MORE, oids):
            statement = Statement(row["what"], row["sql"], early=row["place"] == 1)
            more.setdefault(row["oid"], []).append(statement)
        written = {oid: nodes[name] for name, (oid, _) in self._standing([*nodes]).items()}
        ordered = _in_order({row["oid"]: row["reads"] for row in rows})
        reached = reaching(ordered, written)
        found = {row["oid"]: row for row in rows}
        return [
            SavedView(
                oid,
                Name("", found[oid]["schema"], found[oid]["name"]),
                KINDS[found[oid]["kind"]],
                found[oid]["definition"].strip().removesuffix(";"),
                found[oid]["version"],
                found[oid]["owner"],
                tuple((name, value) for name, value in found[oid]["options"]),
                found[oid]["method"],
                found[oid]["tablespace"],
                found[oid]["populated"],
                tuple(rights.get(oid, ())),
                tuple(more.get(oid, ())),
                tuple(found[oid]["reads"]),
                () if oid in written else reached[oid],
                written.get(oid, ""),
            )
            for oid in ordered
        ]

    def _mark(self, name: Name) -> Name:
        """Renames a relation, so that its new name stands for it in definitions and nowhere else.

        Nobody else can make a view on it, or read it, from here to the transaction's end.
        """
        mark = replace(name, name=f"mage_dbt_{secrets.token_hex(12)}")
        self._session.execute(f"alter table {name} rename to {mark.name}")
        return mark

    # ----------------------------------------------------------------- moving

    def move(
        self,
        former: Name,
        to: Name,
        known: Sequence[SavedView],
        nodes: Mapping[Name, str],
        keep: Callable[[Sequence[SavedView]], None],
    ) -> list[Outcome]:
        """Has the views on `former`, which is about to be dropped, read `to` in its place.

        Where a view cannot stay, `former` is dropped here, and its views are made again in the same
        transaction. `known` are views as they were read before; `nodes` the nodes that write
        relations, by name. `keep` is given all views that this drops, before it does.
        """
        if {former, to} - self._standing([former, to]).keys():
            return []
        deadline = time.monotonic() + self._lock_seconds
        saved = {view.oid: view for view in known}
        kept = []
        for row in self._direct(former):
            view = saved.get(row["oid"])
            if view and view.kind == VIEW and view.version == row["version"]:
                kept += self._replaced(view, deadline)
        if not self._direct(former):
            return kept
        try:
            made = self._patiently(
                lambda: self._drop_and_make(former, to, saved, nodes, keep), deadline
            )
        except psycopg2.Error as error:  # then dbt drops it, and what is gone is restored later
            self._raise_if_closed(error)
            traceback.print_exc()
            return kept
        return [*kept, *made]

    def _replaced(self, view: SavedView, deadline: float) -> list[Outcome]:
        """Nothing where the view cannot be replaced."""
        try:
            return [self._patiently(lambda: self._replace(view), deadline)]
        except (psycopg2.Error, NotTheSame) as error:
            self._raise_if_closed(error)
            return []

    def _replace(self, view: SavedView) -> Outcome:
        with self._session.transaction():
            self._begin()
            self._session.execute(_create(view, "create or replace view"))
            now = self._now(view)
            if now.oid != view.oid:
                raise NotTheSame
        return Outcome(now, How.KEPT)

    def _drop_and_make(
        self,
        former: Name,
        to: Name,
        saved: Mapping[int, SavedView],
        nodes: Mapping[Name, str],
        keep: Callable[[Sequence[SavedView]], None],
    ) -> list[Outcome]:
        with self._session.transaction():
            self._begin()
            _, kind = self._standing([former])[former]
            self._lock(self._read([former], nodes))
            mark = self._mark(former)
            known = {name: node for name, node in nodes.items() if name != to} | {mark: nodes[to]}
            views = [
                _latest(view.renamed(mark.name, self._ident(to.name)), saved)
                for view in self._read([mark], known)
            ]
            keep(views)
            self._session.execute(f"drop {KINDS[kind]} {mark} cascade")
            # A materialized view of the run's own is filled when dbt builds it.
            return self._make_all(
                [view for view in views if not (view.node and view.kind == MATERIALIZED_VIEW)]
            )

    # -------------------------------------------------------------- restoring

    def restore(
        self, views: Sequence[SavedView], populate_seconds: float | None = None
    ) -> list[Outcome]:
        """Makes those views again that are not there. What stands under such a name is left.

        A materialized view that takes longer than `populate_seconds` comes without its rows.
        """
        standing = self._standing([view.name for view in views])
        outcomes = []
        deadline = time.monotonic() + self._lock_seconds
        for group in groups([view for view in views if view.name not in standing]):
            if self._is_within and any(view.kind == MATERIALIZED_VIEW for view in group):
                continue
            attempt = partial(self._restore, group, populate_seconds)
            try:
                outcomes += self._patiently(attempt, deadline)
            except BUSY as error:
                outcomes += [Outcome(view, How.GONE, words(error)) for view in group]
        return outcomes

    def _restore(self, views: Sequence[SavedView], populate_seconds: float | None) -> list[Outcome]:
        with self._session.transaction():
            self._begin()
            return self._make_all(views, populate_seconds)

    def _make_all(
        self, views: Iterable[SavedView], populate_seconds: float | None = None
    ) -> list[Outcome]:
        made = (self._make(view, populate_seconds) for view in views)
        return [outcome for outcome in made if outcome]

    def _make(self, view: SavedView, populate_seconds: float | None) -> Outcome | None:
        """None where somebody else has made it."""
        self._session.execute("savepoint mage_dbt_view")
        try:
            notes = self._create(view, populate_seconds)
        except psycopg2.Error as error:
            self._raise_if_closed(error)
            if isinstance(error, BUSY):
                raise
            self._session.execute("rollback to savepoint mage_dbt_view")
            there = isinstance(error, THERE)
            return None if there else Outcome(view, How.GONE, words(error))
        self._session.execute("release savepoint mage_dbt_view")
        return Outcome(self._now(view), How.BACK, notes=tuple(notes))

    def _create(self, view: SavedView, populate_seconds: float | None) -> list[str]:
        """Makes it, with all that it had; returns what is not as it was."""
        self._session.execute(_create(view, f"create {view.kind}"))
        notes = self._each([statement for statement in view.more if statement.early])
        if view.kind == MATERIALIZED_VIEW and view.populated:
            notes += self._populate(view, populate_seconds)
        notes += self._each([statement for statement in view.more if not statement.early])
        me = self._session.rows("select current_user::text as me")[0]["me"]
        owner = f"alter {view.kind} {view.name} owner to {quoted(view.owner)}"
        if view.owner != me and (problem := self._try(owner)):
            return [
                *notes,
                f"it is {me}'s now, not {view.owner}'s ({problem})",
                *self._grant(view, me),
            ]
        usage = "select pg_catalog.pg_has_role(%s, 'usage') as usage"
        if view.owner == me or self._session.rows(usage, (view.owner,))[0]["usage"]:
            return [*notes, *self._grant(view, view.owner)]
        becomes = self._try(f"set local role {quoted(view.owner)}")
        notes += self._grant(view, view.owner)
        if not becomes:
            self._session.execute(f"set local role {quoted(me)}")
        return notes

    def _populate(self, view: SavedView, seconds: float | None) -> list[str]:
        """Under the role's own search_path: the query may call functions that need it."""
        limit = "select pg_catalog.current_setting('statement_timeout') as before"
        before = self._session.rows(limit)[0]["before"]
        self._search(self._path)
        if seconds is not None:
            self._set("statement_timeout", str(int(seconds * 1000)))
        problem = self._try(f"refresh materialized view {view.name}")
        self._set("statement_timeout", before)
        self._search("")
        return [f"it has no rows until it is refreshed ({problem})"] if problem else []

    def _grant(self, view: SavedView, owner: str) -> list[str]:
        """Gives the view the rights that it had, and no others."""
        oid = self._now(view).oid
        present = {_right(row) for row in self._session.rows(RIGHTS, {"oids": [oid]})}
        theirs = present if owner == view.owner else {r for r in present if r.grantee != owner}
        wanted = set(view.rights)
        revoked = [
            Statement(_shown(right), f"revoke {_what(right, view)} from {_who(right)}")
            for right in sorted(theirs - wanted, key=repr)
        ]
        granted = [
            Statement(
                _shown(right),
                f"grant {_what(right, view)} to {_who(right)}"
                f"{' with grant option' if right.grantable else ''}",
            )
            for right in sorted(wanted - present, key=repr)
        ]
        return self._each([*revoked, *granted])

    def _each(self, statements: Sequence[Statement]) -> list[str]:
        """Runs them together or, where that fails, each for itself; returns what failed."""
        if not statements or not self._try("; ".join(statement.sql for statement in statements)):
            return []
        return [
            f"{statement.what} is missing ({problem})"
            for statement in statements
            if (problem := self._try(statement.sql))
        ]

    def _try(self, sql: str) -> str:
        """Runs a statement; returns the server's words where it fails, and nothing is changed."""
        self._session.execute("savepoint mage_dbt_part")
        try:
            self._session.execute(sql)
        except psycopg2.Error as error:
            self._raise_if_closed(error)
            if isinstance(error, BUSY):
                raise
            self._session.execute("rollback to savepoint mage_dbt_part")
            return words(error)
        self._session.execute("release savepoint mage_dbt_part")
        return ""

    # ------------------------------------------------------------ transactions

    def lock(self, views: Sequence[SavedView]) -> bool:
        """Locks views whose tables are to be dropped, as long as the transaction lasts.

        Readers lock a view before what it reads. Whoever drops a table before its views are locked
        would wait for such a reader, and the reader for the table.
        """
        try:
            self._patiently(partial(self._locked, views), time.monotonic() + self._lock_seconds)
        except BUSY:
            return False
        return True

    def _locked(self, views: Sequence[SavedView]) -> None:
        with self._session.transaction():
            self._begin()
            self._lock(views)

    def _lock(self, views: Sequence[SavedView]) -> None:
        """Locks those that are the role's own, outermost first, within one try's time."""
        deadline = time.monotonic() + LOCK_MILLISECONDS / 1000
        for view in reversed(views):
            self._set("lock_timeout", str(max(1, int((deadline - time.monotonic()) * 1000))))
            # It changes nothing. LOCK TABLE would lock what the view reads, too.
            self._try(f"alter {view.kind} {view.name} owner to {quoted(view.owner)}")

    def _begin(self) -> None:
        path = "select pg_catalog.current_setting('search_path') as path"
        self._path = self._session.rows(path)[0]["path"]
        self._set("lock_timeout", str(LOCK_MILLISECONDS))
        self._search("")

    def _search(self, path: str) -> None:
        self._set("search_path", path)

    def _set(self, name: str, value: str) -> None:
        """Until the transaction's end."""
        self._session.rows("select pg_catalog.set_config(%s, %s, true)", (name, value))

    def _patiently(self, attempt: Callable[[], Answer], deadline: float) -> Answer:
        """Tries a transaction again as long as another one is in its way."""
        while True:
            try:
                return attempt()
            except BUSY:
                if time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(*BETWEEN_SECONDS))

    def _raise_if_closed(self, error: Exception) -> None:
        """Without a connection nothing can be gone on with."""
        if self._session.ended:
            raise error

    def _now(self, view: SavedView) -> SavedView:
        """With its present OID and version."""
        rows = self._session.rows(
            "select ev_class::bigint as oid, xmin::text as version from pg_catalog.pg_rewrite"
            f" where ev_class = pg_catalog.to_regclass({literal(str(view.name))}) and ev_type = '1'"
        )
        if not rows:
            raise NotTheSame
        return replace(view, oid=rows[0]["oid"], version=rows[0]["version"])

    def _ident(self, name: str) -> str:
        """A name as the server writes it in a definition."""
        return str(self._session.rows("select quote_ident(%s) as name", (name,))[0]["name"])


def direct(name: Name) -> str:
    """The query for the views that read a relation directly."""
    return DIRECT.format(relation=literal(str(name)))


def standing_name(rendered: str) -> Name:
    """A relation's name in the database of the connection."""
    return replace(Postgres.folding.name(rendered), database="")


def formers_of(targets: Iterable[Target]) -> dict[Name, Name]:
    """The names under which dbt keeps a former relation, or builds a new one, and its own name."""
    return {
        replace(name, name=aside): name
        for target in targets
        if target.builds_aside
        for name in [standing_name(target.rendered)]
        for aside in asides(name.name)
    }


def _create(view: SavedView, verb: str) -> str:
    options = ", ".join(f"{_option(name)} = {literal(value)}" for name, value in view.options)
    return (
        f"{verb} {view.name}"
        f"{f' using {quoted(view.method)}' if view.method else ''}"
        f"{f' with ({options})' if options else ''}"
        f"{f' tablespace {quoted(view.tablespace)}' if view.tablespace else ''}"
        f" as\n{view.definition}"
        f"{chr(10) + 'with no data' if view.kind == MATERIALIZED_VIEW else ''}"
    )


def _option(name: str) -> str:
    return ".".join(quoted(part) for part in name.split(".", 1))


def _latest(view: SavedView, saved: Mapping[int, SavedView]) -> SavedView:
    """The view as it is now, with the query that was read before any relation was renamed."""
    before = saved.get(view.oid)
    if before is None or before.version != view.version:
        return view
    nodes = tuple(sorted({*before.nodes, *view.nodes}))
    return replace(view, definition=before.definition, nodes=nodes)


def _columns(names: Iterable[Name]) -> dict[str, list[str]]:
    ordered = [*names]
    return {
        "schemas": [name.schema for name in ordered],
        "names": [name.name for name in ordered],
    }


def _in_order(reads: Mapping[int, Sequence[int]]) -> dict[int, Sequence[int]]:
    """Each after what it reads. A circle, which only a broken pair of views can make, stays."""
    sorter = TopologicalSorter({oid: reads.keys() & below for oid, below in reads.items()})
    try:
        return {oid: reads[oid] for oid in sorter.static_order()}
    except CycleError:
        return dict(reads)


def _right(row: Mapping[str, Any]) -> Right:
    return Right(row["column_name"], row["grantee"], row["privilege"], row["grantable"])


def _what(right: Right, view: SavedView) -> str:
    column = f" ({quoted(right.column)})" if right.column else ""
    return f"{right.privilege}{column} on {view.name}"


def _who(right: Right) -> str:
    return quoted(right.grantee) if right.grantee else "public"


def _shown(right: Right) -> str:
    column = f" of {right.column}" if right.column else ""
    return f"{right.privilege.lower()}{column} for {right.grantee or 'public'}"
