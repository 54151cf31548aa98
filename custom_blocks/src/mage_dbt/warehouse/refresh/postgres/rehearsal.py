"""The swap's own statements, on empty copies in schemas that are rolled back.

What reads a live relation is written down once with that schema as the only search path, so the
names of that schema's relations stand there without it. Read again with the schema of the copies
first in the path, the same text means the copies. So no text is changed, and nobody's relation is
locked against readers. One schema after the other, because only one at a time can be left out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

from mage_dbt.model.refresh import CheckName, Refusal
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import Part, RefreshRefused
from mage_dbt.warehouse.refresh.postgres import dependents, properties, schemas, swap
from mage_dbt.warehouse.refresh.postgres.carrying import carry
from mage_dbt.warehouse.refresh.postgres.dependents import View
from mage_dbt.warehouse.session import Session, words

LOCK_SECONDS = 10
"""How long a copy waits for whoever changes a relation."""

CHANGE_IT = "Change it first, or keep the columns as they are."


class _Over(Exception):
    """Rolls the rehearsal back."""


@dataclass(frozen=True)
class _Scratch:
    """The schemas of one rehearsal."""

    live: str
    incoming: str
    old: str
    views: str

    @classmethod
    def new(cls) -> _Scratch:
        start = f"mage_dbt_try_{secrets.token_hex(6)}"
        return cls(*(f"{start}_{end}" for end in ("live", "new", "old", "views")))

    @property
    def all(self) -> tuple[str, ...]:
        return (self.live, self.incoming, self.old, self.views)


def rehearse(session: Session, parts: Sequence[Part]) -> None:
    """Raises RefreshRefused if the swap would fail, with the server's words."""
    with session.qualified():
        swap.check_incoming(session, swap.places(session, "", parts))
    failed = failures(session, parts, {})
    if failed:
        raise RefreshRefused(
            " ".join(refusal.what for _, refusal in failed), failed[0][1].hint, CheckName.DEPENDENTS
        )


def failures(
    session: Session, parts: Sequence[Part], queries: Mapping[str, str]
) -> list[tuple[str, Refusal]]:
    """What would fail, with its node.

    What is not built yet has the columns of its query, else the present ones.
    """
    found: dict[Refusal, str] = {}
    for schema in schemas.live_schemas(parts):
        mine = [part for part in parts if part.live.schema == schema]
        for node, refusal in _Rehearsal(session, schema, mine, parts, queries).run():
            found.setdefault(refusal, node)
    return [(node, refusal) for refusal, node in found.items()]


class _Rehearsal:
    """Of the relations of one live schema."""

    def __init__(
        self,
        session: Session,
        schema: str,
        parts: Sequence[Part],
        all_parts: Sequence[Part],
        queries: Mapping[str, str],
    ) -> None:
        self._session = session
        self._schema = schema
        self._parts = parts
        self._all = all_parts
        self._queries = queries
        self._scratch = _Scratch.new()
        self._path = ""
        """The role's own search_path."""
        self._failed: list[tuple[str, Refusal]] = []

    def run(self) -> list[tuple[str, Refusal]]:
        (row,) = self._session.rows("select pg_catalog.current_setting('search_path') as path")
        self._path = str(row["path"])
        try:
            with self._session.transaction(), self._session.qualified():
                self._rehearse()
                raise _Over
        except _Over:
            return self._failed

    def _rehearse(self) -> None:
        session, scratch = self._session, self._scratch
        session.execute(
            f"set local lock_timeout = '{LOCK_SECONDS}s'; set local statement_timeout = 0"
        )
        for schema in scratch.all:
            session.execute(f"create schema {quoted(schema)}")
        standing = [part for part in self._parts if swap.stands(session, part.live)]
        views = self._views()
        for part in standing:
            self._copy(part.live, Name("", scratch.live, part.live.name))
        copies = {
            view.oid: Name("", scratch.views, f"view_{place}")
            for place, view in enumerate(views, 1)
        }
        definitions = {view.oid: self._written(view) for view in views}
        for view in views:
            with self._here():
                session.execute(dependents.replaced(view, definitions[view.oid], copies[view.oid]))
        for part in self._parts:
            self._build(part)
        moving = [
            swap.Place(
                Name("", scratch.live, part.live.name),
                scratch.old,
                incoming := Name("", scratch.incoming, part.live.name),
                self._standing(incoming),
                swap.stands(session, Name("", scratch.live, part.live.name)),
            )
            for part in self._parts
        ]
        for statement in swap.moves(moving):
            with self._tried(self._parts[0], "The swap fails.", ""):
                session.execute(statement)
        for view in views:
            what = f"The view {view.name.shown} does not fit the new columns."
            with self._tried(self._part_of(view), what, CHANGE_IT), self._here():
                session.execute(dependents.replaced(view, definitions[view.oid], copies[view.oid]))

    def _standing(self, name: Name) -> swap.Stands:
        found = swap.stands(self._session, name)
        assert found is not None  # it has just been made
        return found

    def _views(self) -> list[View]:
        """The views on the live relations, which are no parts."""
        session = self._session
        live = swap.live_oids(session, self._parts)
        swapped = [
            found.oid
            for part in self._all
            for name in (part.live, part.incoming)
            if (found := swap.stands(session, name))
        ]
        return swap.others_views(session, live, swapped)

    def _part_of(self, view: View) -> Part:
        """The first part that the view reads."""
        used = {oid for oid, _ in view.uses}
        for part in self._parts:
            found = swap.stands(self._session, part.live)
            if found and found.oid in used:
                return part
        return self._parts[0]

    def _written(self, view: View) -> str:
        """The view's query, without this schema's name."""
        self._search(self._schema)
        (row,) = self._session.rows(
            "select pg_catalog.pg_get_viewdef(%s::oid) as definition", (view.oid,)
        )
        self._search()
        return str(row["definition"]).strip().removesuffix(";")

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Names of this schema mean the copies, where there is one."""
        self._search(self._scratch.live, self._schema)
        yield
        self._search()

    @contextmanager
    def _as_outside(self) -> Iterator[None]:
        """The role's own search_path, for what calls functions: an index, or the model's query."""
        self._set_path(self._path)
        yield
        self._search()

    def _search(self, *path: str) -> None:
        self._set_path(", ".join(quoted(schema) for schema in path))

    def _set_path(self, path: str) -> None:
        self._session.rows("select pg_catalog.set_config('search_path', %s, true)", (path,))

    def _copy(self, source: Name, copy: Name) -> None:
        found = self._standing(source)
        with self._as_outside():
            if found.kind == "view":
                self._session.execute(f"create view {copy} as select * from {source}")
            else:
                self._session.execute(f"create table {copy} (like {source} including all)")

    def _build(self, part: Part) -> None:
        """An empty copy of what comes, with all that it gets from the live relation."""
        session = self._session
        copy = Name("", self._scratch.incoming, part.live.name)
        query = self._queries.get(part.node, "").strip().rstrip(";")
        if swap.stands(session, part.incoming):
            self._copy(part.incoming, copy)
        elif not query or not self._made(part, copy, query):
            if swap.stands(session, part.live):
                self._copy(part.live, copy)
            else:
                session.execute(f"create table {copy} ()")
        live, incoming = properties.read(session, part.live), properties.read(session, copy)
        if live is None or incoming is None:
            return
        try:
            swapped = swap.live_oids(session, self._all)
            carried = carry(live, incoming, copy, parts=swapped)
        except RefreshRefused as refused:
            self._failed.append((part.node, Refusal(refused.message, refused.hint)))
            return
        for statement in carried.statements:
            what = f"{part.live.shown} has a property that the new relation cannot get."
            with self._tried(part, what, ""), self._as_outside():
                session.execute(statement)

    def _made(self, part: Part, copy: Name, query: str) -> bool:
        """Makes the copy from the query. It may name what is not built yet either."""
        self._session.execute("savepoint query")
        try:
            with self._as_outside():
                if part.is_view:
                    self._session.execute(f"create view {copy} as\n{query}")
                else:
                    self._session.execute(f"create table {copy} as (\n{query}\n) with no data")
            return True
        except psycopg2.Error as error:
            if self._session.ended or isinstance(error, psycopg2.errors.QueryCanceled):
                raise
            self._session.execute("rollback to savepoint query")
            return False

    @contextmanager
    def _tried(self, part: Part, what: str, hint: str) -> Iterator[None]:
        """A failure here is a refusal; the rehearsal goes on."""
        self._session.execute("savepoint step")
        try:
            yield
        except psycopg2.Error as error:
            if self._session.ended or isinstance(error, psycopg2.errors.QueryCanceled):
                raise
            self._session.execute("rollback to savepoint step")
            self._failed.append((part.node, Refusal(f"{what} {words(error)}.", hint)))
