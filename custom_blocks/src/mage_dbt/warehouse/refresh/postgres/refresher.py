"""The refreshes of a PostgreSQL server: see `Refresher`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import psycopg2

from mage_dbt.model.refresh import Check, Comparison, Kept, Preview, RefreshOptions, Refusal
from mage_dbt.warehouse.refresh import Part, RefreshRefused, Report, State, Swapped
from mage_dbt.warehouse.refresh.postgres import (
    checks,
    comparison,
    markers,
    preview,
    properties,
    rehearsal,
    schemas,
    settle,
    swap,
)
from mage_dbt.warehouse.refresh.postgres.carrying import carry
from mage_dbt.warehouse.refresh.postgres.relation import TABLE
from mage_dbt.warehouse.session import Session, words

Answer = TypeVar("Answer")

REHEARSALS = 3
"""A build of somebody's that puts a view anew meanwhile has ended by the last of them."""

GIVEN = """
select acl.privilege_type as privilege, acl.is_grantable as grantable,
    case acl.grantee when 0 then 'public' else pg_catalog.quote_ident(role.rolname) end as grantee
from pg_catalog.pg_default_acl as defaults
cross join lateral pg_catalog.aclexplode(defaults.defaclacl) as acl
left join pg_catalog.pg_roles as role on role.oid = acl.grantee
where defaults.defaclobjtype = 'r'
    and defaults.defaclrole = (select oid from pg_catalog.pg_roles where rolname = current_user)
    and defaults.defaclnamespace = (
        select oid from pg_catalog.pg_namespace where nspname = %(schema)s
    )
order by 3, 1
"""
"""What a new relation of this schema gets by default, beside what any new relation gets."""


class PostgresRefresher:
    """Over a psycopg2 connection of its own, as the role that dbt uses.

    When the session has ended or its statement was cancelled, psycopg2's error is raised and not
    RefreshRefused: after a `swap` only `swapped` of another session can tell whether it happened.
    """

    def __init__(self, connection: Any) -> None:
        self._session = Session(connection)

    def aside_schema(self, run: str, schema: str, others: Sequence[str]) -> str:
        return schemas.name_of(schemas.NEW, run, schema, others)

    def preview(self, parts: Sequence[Part], queries: Mapping[str, str]) -> list[Preview]:
        with self._refusing("The preview failed"):
            live = swap.live_oids(self._session, parts)
            previews = [self._preview(part, queries.get(part.node, ""), live) for part in parts]
            if any(found.refusals for found in previews):
                return previews
            failed = self._failures(parts, queries)
        refusals: dict[str, list[Refusal]] = {}
        for node, refusal in failed:
            refusals.setdefault(node, []).append(refusal)
        return [replace(found, refusals=tuple(refusals.get(found.node, ()))) for found in previews]

    def _preview(self, part: Part, query: str, live: Sequence[int]) -> Preview:
        former = swap.stands(self._session, part.incoming) is not None
        if former:
            query = f"select * from {part.incoming}"
        return preview.preview(self._session, part, query, live, undo=former)

    def _failures(
        self, parts: Sequence[Part], queries: Mapping[str, str]
    ) -> list[tuple[str, Refusal]]:
        try:
            return _settled(lambda: rehearsal.failures(self._session, parts, queries))
        except psycopg2.Error as error:
            self._raise_if_over(error)
            return [(parts[0].node, Refusal(f"The swap cannot be rehearsed: {words(error)}."))]

    def adopt(self, earlier: str, run: str, parts: Sequence[Part]) -> bool:
        with self._refusing("What was built aside cannot be taken over"):
            return schemas.adopt(self._session, earlier, run, parts)

    def give_back(self, run: str) -> str:
        with self._refusing("What was built aside cannot be given back"):
            return schemas.give_back(self._session, run)

    def begin(self, run: str, parts: Sequence[Part]) -> State:
        found: dict[str, Any] = {}
        read: dict[str, Any] = {}
        with self._refusing("The refresh cannot begin"):
            swap.require_carried(self._session, parts)
            schemas.create_aside(self._session, run, parts)
            for part in parts:
                live = properties.read(self._session, part.live)
                if live is None:
                    continue
                found[part.node] = live
                if live.kind == TABLE:
                    read[part.node] = markers.read(self._session, part.live)
        return State(found, read)

    def check(self, parts: Sequence[Part], state: State, options: RefreshOptions) -> list[Check]:
        found = []
        with self._refusing("The new rows cannot be checked"):
            for part in parts:
                if marker := state.markers.get(part.node):
                    found.append(checks.rows(self._session, part, marker.rows, options))
                if part.key:
                    found.append(checks.key(self._session, part, options))
        return found

    def compare(self, part: Part, seconds: float) -> Comparison:
        with self._refusing(f"{part.name} cannot be compared"):
            return comparison.compare(self._session, part, seconds)

    def rehearse(self, parts: Sequence[Part]) -> None:
        with self._refusing("The swap cannot be rehearsed"):
            _settled(lambda: rehearsal.rehearse(self._session, parts))

    def settle(self, parts: Sequence[Part], options: RefreshOptions, report: Report) -> Check:
        """First the new relations get what the live ones have: their rows may be written anew."""
        with self._refusing("The new relations cannot be made ready"):
            swapped = swap.live_oids(self._session, parts)
            for part in parts:
                self._carry(part, swapped, report)
            aside = self._probe_schema(parts)
            return settle.settle(self._session, parts, aside, options, report)

    def _carry(self, part: Part, swapped: Sequence[int], report: Report) -> None:
        live, incoming = (
            properties.read(self._session, name) for name in (part.live, part.incoming)
        )
        if incoming is None:
            raise RefreshRefused(f"{part.name}: there is no {part.incoming.shown}.")
        if live is None:
            statements: tuple[str, ...] = (*self._given(part),)
        else:
            former = part.incoming.schema.startswith(schemas.OLD)
            carried = carry(live, incoming, part.incoming, former, swapped)
            statements = carried.statements
            for note in carried.notes:
                report(f"{part.name}: {note}")
        with self._session.transaction():
            for statement in statements:
                self._session.execute(statement)

    def _given(self, part: Part) -> Iterator[str]:
        """A relation without a former one gets what default privileges give in its schema."""
        for row in self._session.rows(GIVEN, {"schema": part.live.schema}):
            option = " with grant option" if row["grantable"] else ""
            yield f"grant {row['privilege']} on {part.incoming} to {row['grantee']}{option}"

    def _probe_schema(self, parts: Sequence[Part]) -> str:
        """A schema of ours that was made for this run, or else for one of its relations."""
        names = {part.incoming.schema for part in parts}
        return min(names, key=lambda name: (not name.startswith(schemas.NEW), name))

    def swap(
        self,
        run: str,
        parts: Sequence[Part],
        state: State,
        options: RefreshOptions,
        report: Report,
    ) -> Swapped:
        with self._refusing("The swap failed, and nothing has changed"):
            return swap.swap(self._session, run, parts, state, options, report)

    def discard(self, run: str) -> bool:
        with self._refusing("What was built aside cannot be dropped"):
            mine = schemas.aside_of(self._session, run)
            left = [why for schema in mine if (why := schemas.drop(self._session, schema))]
        if left:
            raise RefreshRefused(" ".join(left), "Nobody else should use what is built aside.")
        return bool(mine)

    def has_aside(self, run: str) -> bool:
        with self._refusing("What is aside cannot be listed"):
            return bool(schemas.aside_of(self._session, run))

    def swapped(self, run: str) -> list[Kept]:
        return [version for version in self.kept() if version.run == run]

    def kept(self) -> list[Kept]:
        with self._refusing("What is kept cannot be listed"):
            return schemas.kept(self._session)

    def drop_expired(self, now: datetime, report: Report) -> list[Kept]:
        dropped = []
        with self._refusing("What is kept cannot be dropped"):
            for schema in schemas.found(self._session):
                if not schemas.is_over(self._session, schema, now):
                    continue
                versions = schemas.kept_in(self._session, [schema])
                if why := schemas.drop(self._session, schema):
                    report(f"{why.rstrip('.')}. It is dropped when nothing depends on it any more.")
                else:
                    dropped += versions
        return dropped

    @contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        """Every error of the server's is a refusal with its words, as long as the session lives."""
        try:
            yield
        except psycopg2.Error as error:
            self._raise_if_over(error)
            raise RefreshRefused(f"{what}: {words(error)}.") from error

    def _raise_if_over(self, error: psycopg2.Error) -> None:
        if self._session.ended or isinstance(error, psycopg2.errors.QueryCanceled):
            raise error


def _settled(rehearse: Callable[[], Answer]) -> Answer:
    """The rehearsal's answer. It is done again where a view went that it had just listed."""
    for _ in range(REHEARSALS - 1):
        with suppress(psycopg2.errors.UndefinedTable):
            return rehearse()
    return rehearse()
