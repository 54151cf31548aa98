"""The schemas of refreshes: what is built aside, and what is kept of former relations.

A schema is ours when its name, its comment and its owner all say so. Only such a schema is listed
or dropped, and only without CASCADE: what somebody made on a kept relation stays, and so it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from mage_dbt.model.refresh import Kept
from mage_dbt.model.run import RESUMABLE_FOR, asked_at_of
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.session import Session, words

NEW, OLD = "mage_dbt_new_", "mage_dbt_old_"
"""Beginnings of the names: of what is built aside, and of what is kept."""

MARK = "mage_dbt"
"""The first key of a comment's JSON."""

LOCK_SECONDS = 5
"""How long a drop waits for whoever reads what nobody should."""

FOUND = """
select space.oid, space.nspname::text as name,
    pg_catalog.obj_description(space.oid, 'pg_namespace') as comment
from pg_catalog.pg_namespace as space
join pg_catalog.pg_roles as owner on owner.oid = space.nspowner
where owner.rolname = current_user
    and (pg_catalog.starts_with(space.nspname::text, %(new)s)
        or pg_catalog.starts_with(space.nspname::text, %(old)s))
order by space.nspname
"""

RELATIONS = """
select relnamespace as space, relname::text as name, relkind::text as kind,
    pg_catalog.pg_total_relation_size(oid) as bytes
from pg_catalog.pg_class
where relnamespace = any(%(spaces)s::oid[]) and relkind in ('r', 'v')
order by relname
"""

GUESTS = """
select distinct case acl.grantee when 0 then 'public'
    else (select pg_catalog.quote_ident(rolname) from pg_catalog.pg_roles where oid = acl.grantee)
end as grantee
from pg_catalog.pg_namespace as space
cross join lateral pg_catalog.aclexplode(space.nspacl) as acl
where space.nspname = %(name)s and acl.grantee <> space.nspowner
"""

IN_USE = """
select from pg_catalog.pg_stat_activity where strpos(application_name, %(run)s) > 0 limit 1
"""

HELD = """
select object.type, object.identity
from pg_catalog.pg_depend as depends
cross join lateral pg_catalog.pg_identify_object(
    depends.classid, depends.objid, depends.objsubid
) as object
where depends.refclassid = 'pg_catalog.pg_namespace'::regclass and depends.refobjid = %(space)s
    and depends.deptype = 'n' and object.identity is not null
order by 1 desc, 2
"""
"""What a schema holds. Parts of a relation, such as indexes, do not depend on it themselves."""

DROPPED_AS = {"statistics object": "statistics"}
"""The word of DROP for what `pg_identify_object` calls otherwise."""


@dataclass(frozen=True)
class Schema:
    """One of our schemas."""

    oid: int
    name: str
    run: str
    live: str
    """The schema whose relations it holds, new ones or former ones."""
    adopted: str = ""
    """The run that has built what it holds, where `adopt` has taken it over."""
    relations: Mapping[str, str] = field(default_factory=dict)
    """Nodes by the name of their relation."""
    at: datetime | None = None
    until: datetime | None = None

    @property
    def is_kept(self) -> bool:
        return self.name.startswith(OLD)


def name_of(beginning: str, run: str, schema: str, others: Sequence[str]) -> str:
    """The name of the run's schema for relations of `schema`; `others` are all schemas of the run,
    in order."""
    place = list(others).index(schema) + 1
    return beginning + run.replace("-", "_") + (f"_{place}" if place > 1 else "")


def live_schemas(parts: Iterable[Part]) -> list[str]:
    """All schemas of a run, in order."""
    return sorted({part.live.schema for part in parts})


def create_aside(session: Session, run: str, parts: Sequence[Part]) -> None:
    """Makes the schemas that the run builds into, unless they are there. An undo builds nothing."""
    lives = live_schemas(parts)
    wanted = {part.incoming.schema for part in parts} - {
        schema.name for schema in aside_of(session, run)
    }
    with session.transaction():
        for live in lives:
            name = name_of(NEW, run, live, lives)
            if name in wanted:
                _create(session, name, {"run": run, "schema": live})


def aside_of(session: Session, run: str) -> list[Schema]:
    """The schemas in which the run has built."""
    return [schema for schema in found(session) if schema.run == run and not schema.is_kept]


def adopt(session: Session, earlier: str, run: str, parts: Sequence[Part]) -> bool:
    """Gives the schemas of an earlier run this run's names; False where it has built none, or for
    other schemas."""
    lives = live_schemas(parts)
    left = aside_of(session, earlier)
    if not left or any(schema.live not in lives for schema in left):
        return False
    with session.transaction():
        for schema in left:
            name = name_of(NEW, run, schema.live, lives)
            session.execute(f"alter schema {quoted(schema.name)} rename to {quoted(name)}")
            _say(session, name, {"run": run, "schema": schema.live, "adopted": earlier})
    return True


def give_back(session: Session, run: str) -> str:
    """Undoes `adopt`: what the run has taken over is the earlier run's again.

    Returns the earlier run; an empty text where nothing was taken over.
    """
    given = ""
    with session.transaction():
        for schema in aside_of(session, run):
            if earlier := schema.adopted:
                name = schema.name.replace(run.replace("-", "_"), earlier.replace("-", "_"))
                session.execute(f"alter schema {quoted(schema.name)} rename to {quoted(name)}")
                _say(session, name, {"run": earlier, "schema": schema.live})
                given = earlier
    return given


def create_kept(
    session: Session, run: str, parts: Sequence[Part], replacing: Sequence[Part], keep_days: int
) -> None:
    """Makes the schemas for what some of these parts replace, in the transaction of the swap."""
    lives = live_schemas(parts)
    at = datetime.now(UTC)
    for live in live_schemas(replacing):
        mine = [part for part in replacing if part.live.schema == live]
        comment = {
            "run": run,
            "schema": live,
            "at": at.isoformat(),
            "until": (at + timedelta(days=keep_days)).isoformat(),
            "relations": {part.live.name: part.node for part in mine},
            "models": {part.live.name: part.name for part in mine},
        }
        _create(session, name_of(OLD, run, live, lives), comment)


def _create(session: Session, name: str, comment: Mapping[str, Any]) -> None:
    session.execute(f"create schema {quoted(name)}")
    # Default privileges may have opened it.
    for guest in session.rows(GUESTS, {"name": name}):
        session.execute(f"revoke all on schema {quoted(name)} from {guest['grantee']}")
    _say(session, name, comment)


def _say(session: Session, name: str, comment: Mapping[str, Any]) -> None:
    text = json.dumps({MARK: 1, **comment}, ensure_ascii=False)
    session.execute(f"comment on schema {quoted(name)} is %s", (text,))


def found(session: Session) -> list[Schema]:
    """All schemas that are certainly ours, by name."""
    rows = session.rows(FOUND, {"new": NEW, "old": OLD})
    return [schema for row in rows if (schema := _read(row)) is not None]


def _read(row: Mapping[str, Any]) -> Schema | None:
    try:
        data = json.loads(row["comment"] or "")
        if MARK not in data:
            return None
        at, until = (_moment(data[key]) if key in data else None for key in ("at", "until"))
        relations = {str(name): str(node) for name, node in data.get("relations", {}).items()}
        run, live = str(data["run"]), str(data["schema"])
        adopted = str(data.get("adopted", ""))
        schema = Schema(row["oid"], row["name"], run, live, adopted, relations, at, until)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # somebody else's comment
    return schema if not schema.is_kept or (at and until) else None


def _moment(text: str) -> datetime:
    """Raises ValueError for one without an offset: it cannot be compared with others."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return moment


def is_over(session: Session, schema: Schema, now: datetime) -> bool:
    """Whether the time of what it holds is over: kept for so long, or built aside and left."""
    if schema.until is not None:
        return schema.until <= now
    try:
        if now - asked_at_of(schema.run) < RESUMABLE_FOR:
            return False
    except ValueError:
        return False  # not a run of ours
    return not session.rows(IN_USE, {"run": schema.run})


def kept(session: Session) -> list[Kept]:
    """All former relations that can be brought back, newest first."""
    return kept_in(session, [schema for schema in found(session) if schema.is_kept])


def kept_in(session: Session, schemas: Sequence[Schema]) -> list[Kept]:
    by_oid = {schema.oid: schema for schema in schemas}
    versions = []
    for row in session.rows(RELATIONS, {"spaces": [*by_oid]}):
        schema = by_oid[row["space"]]
        node = schema.relations.get(row["name"])
        if node is None or schema.at is None or schema.until is None:
            continue
        versions.append(
            Kept(
                run=schema.run,
                node=node,
                relation=Name("", schema.live, row["name"]).shown,
                schema=schema.name,
                kind="view" if row["kind"] == "v" else "table",
                at=schema.at,
                until=schema.until,
                bytes=row["bytes"],
            )
        )
    return sorted(versions, key=lambda version: version.at, reverse=True)


def drop(session: Session, schema: Schema) -> str:
    """Drops the schema with all it holds, unless something else depends on that.

    Returns why it is left; an empty text when it is gone.
    """
    try:
        with session.transaction():
            session.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            _empty(session, schema)
            session.execute(f"drop schema {quoted(schema.name)}")
    except psycopg2.Error as error:
        if session.ended or isinstance(error, psycopg2.errors.QueryCanceled):
            raise
        return f"{schema.name} is left: {words(error)}"
    return ""


def _empty(session: Session, schema: Schema) -> None:
    """Drops one object after the other, each without CASCADE, as long as one can be dropped."""
    while objects := session.rows(HELD, {"space": schema.oid}):
        refused: psycopg2.Error | None = None
        dropped = 0
        for row in objects:
            session.execute("savepoint object")
            try:
                word = DROPPED_AS.get(row["type"], row["type"])
                session.execute(f"drop {word} {row['identity']}")
                dropped += 1
            except (
                psycopg2.errors.DependentObjectsStillExist,
                psycopg2.errors.UndefinedObject,  # it has gone with another one
                psycopg2.errors.UndefinedTable,
                psycopg2.errors.UndefinedFunction,
            ) as error:
                session.execute("rollback to savepoint object")
                refused = error
        if refused is not None and not dropped:
            raise refused
