"""The swap: everything changes its place in one transaction, or nothing does.

Relations move between schemas, with their indexes, constraints and statistics under their own
names. Views that others made on a live relation get the same definition again, which makes them
read what now stands there; their OID, grants and the views on them stay.

Locks are taken in this order: what is aside, for good; the live tables against writers, while the
state is compared; then, in less time than a deadlock's detection takes, the views outermost first,
as a reader takes them, and the tables against readers. Whoever cannot be had in that time keeps its
lock, and the swap lets go of all of its own before it tries again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg2

from mage_dbt.model.refresh import CheckName, RefreshOptions
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import Part, RefreshRefused, Report, State, Swapped
from mage_dbt.warehouse.refresh.postgres import (
    dependents,
    locks,
    markers,
    properties,
    refusals,
    schemas,
)
from mage_dbt.warehouse.refresh.postgres.dependents import View
from mage_dbt.warehouse.session import Session, words

FIRST_SECONDS = 5.0
"""How long a try waits for its first lock, while it holds none."""

NEXT_SECONDS = 0.7
"""How long it waits for all others of a kind. A reader that waits for us longer than
`deadlock_timeout` (1 s) might be chosen as the victim of a deadlock."""

DEADLOCK_SHARE = 0.7
"""Of a `deadlock_timeout` that is shorter than usual."""

PAUSE_SECONDS = (0.2, 1.0)
"""Between two tries, at random: those who queued behind us get through."""

REPORT_SECONDS = 15.0

WORDS = {"r": "table", "v": "view"}

STANDS = """
select class.oid, class.relkind::text as kind, owner.rolname::text as owner
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
join pg_catalog.pg_roles as owner on owner.oid = class.relowner
where space.nspname = %(schema)s and class.relname = %(name)s
"""

SCHEMA = "select oid from pg_catalog.pg_namespace where nspname = %(schema)s"

STATISTICS = """
select space.nspname::text as schema, statistics.stxname::text as name
from pg_catalog.pg_statistic_ext as statistics
join pg_catalog.pg_namespace as space on space.oid = statistics.stxnamespace
where statistics.stxrelid = %(oid)s
order by 1, 2
"""

FINGERPRINT = """
select pg_catalog.md5(coalesce(pg_catalog.string_agg(row, ' ' order by row), '')) as fingerprint
from (
    select 'class ' || oid || ' ' || xmin as row from pg_catalog.pg_class
    where oid = any(%(oids)s::oid[])
    union all
    select 'column ' || attrelid || ' ' || attnum || ' ' || xmin from pg_catalog.pg_attribute
    where attrelid = any(%(oids)s::oid[])
    union all
    select 'comment ' || objoid || ' ' || objsubid || ' ' || xmin from pg_catalog.pg_description
    where classoid = 'pg_catalog.pg_class'::regclass and objoid = any(%(oids)s::oid[])
    union all
    select distinct 'rule ' || rule.oid || ' ' || rule.xmin || ' ' || class.oid || ' ' || class.xmin
    from pg_catalog.pg_depend as depends
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid
    join pg_catalog.pg_class as class on class.oid = rule.ev_class
    where depends.classid = 'pg_catalog.pg_rewrite'::regclass
        and depends.refclassid = 'pg_catalog.pg_class'::regclass
        and depends.refobjid = any(%(oids)s::oid[])
    union all
    select 'depends ' || classid || ' ' || objid || ' ' || objsubid || ' ' || refobjid
    from pg_catalog.pg_depend
    where refclassid = 'pg_catalog.pg_class'::regclass and refobjid = any(%(oids)s::oid[])
    union all
    select 'depends ' || classid || ' ' || objid || ' ' || objsubid || ' ' || refobjid
    from pg_catalog.pg_depend
    where refclassid = 'pg_catalog.pg_type'::regclass and refobjid in (
        select type.oid from pg_catalog.pg_type as type
        left join pg_catalog.pg_type as element on element.oid = type.typelem
        where type.typrelid = any(%(oids)s::oid[]) or element.typrelid = any(%(oids)s::oid[])
    )
) as rows
"""
"""Which versions of their catalog rows these relations and the views on them have, and what depends
on them or on their row types. Not all that changes them needs a lock that ours would keep out:
GRANT, COMMENT, a new view, a new function."""

READS = """
select distinct reader.oid as reader, below.oid as below, space.nspname::text as schema,
    below.relname::text as name
from pg_catalog.pg_rewrite as rule
join pg_catalog.pg_class as reader on reader.oid = rule.ev_class
join pg_catalog.pg_depend as depends
    on depends.classid = 'pg_catalog.pg_rewrite'::regclass and depends.objid = rule.oid
    and depends.refclassid = 'pg_catalog.pg_class'::regclass and depends.refobjid <> reader.oid
join pg_catalog.pg_class as below on below.oid = depends.refobjid
join pg_catalog.pg_namespace as space on space.oid = below.relnamespace
where reader.oid = any(%(oids)s::oid[])
"""

TAKEN = """
select coming.relname::text as name
from pg_catalog.pg_class as coming
join pg_catalog.pg_class as standing on standing.relname = coming.relname
left join pg_catalog.pg_index as its_index on its_index.indexrelid = standing.oid
left join pg_catalog.pg_index as new_index on new_index.indexrelid = coming.oid
left join pg_catalog.pg_depend as its_sequence
    on its_sequence.classid = 'pg_catalog.pg_class'::regclass and its_sequence.objid = standing.oid
    and its_sequence.refclassid = 'pg_catalog.pg_class'::regclass
    and its_sequence.deptype in ('a', 'i') and standing.relkind = 'S'
left join pg_catalog.pg_depend as new_sequence
    on new_sequence.classid = 'pg_catalog.pg_class'::regclass and new_sequence.objid = coming.oid
    and new_sequence.refclassid = 'pg_catalog.pg_class'::regclass
    and new_sequence.deptype in ('a', 'i') and coming.relkind = 'S'
where coalesce(new_index.indrelid, new_sequence.refobjid, coming.oid) = %(incoming)s
    and standing.relnamespace = (
        select oid from pg_catalog.pg_namespace where nspname = %(schema)s
    )
    and coalesce(its_index.indrelid, its_sequence.refobjid, standing.oid)
        <> all(%(leaving)s::oid[])
order by 1
"""
"""Names that stay another relation's, and that the incoming one needs for itself, its indexes and
the sequences of its columns."""


LEFT = """
select object.type, object.identity
from pg_catalog.pg_depend as depends
cross join lateral pg_catalog.pg_identify_object(
    depends.classid, depends.objid, depends.objsubid
) as object
where depends.refclassid = 'pg_catalog.pg_namespace'::regclass
    and depends.refobjid = (select oid from pg_catalog.pg_namespace where nspname = %(schema)s)
    and depends.deptype = 'n' and object.identity is not null
    and not (depends.classid = 'pg_catalog.pg_class'::regclass and (
        depends.objid = any(%(coming)s::oid[])
        or exists (
            select from pg_catalog.pg_depend as owned
            where owned.classid = depends.classid and owned.objid = depends.objid
                and owned.refclassid = 'pg_catalog.pg_class'::regclass
                and owned.refobjid = any(%(coming)s::oid[]) and owned.deptype in ('a', 'i')
        )
    ))
    and not (depends.classid = 'pg_catalog.pg_statistic_ext'::regclass and exists (
        select from pg_catalog.pg_statistic_ext as statistics
        where statistics.oid = depends.objid and statistics.stxrelid = any(%(coming)s::oid[])
    ))
order by 1, 2
"""
"""What a schema holds beside what comes from it."""

DEPTHS = """
with recursive above (oid, depth) as (
    select unnest(%(oids)s::oid[]), 0
    union
    select rule.ev_class, above.depth + 1
    from above
    join pg_catalog.pg_depend as depends
        on depends.refclassid = 'pg_catalog.pg_class'::regclass and depends.refobjid = above.oid
        and depends.classid = 'pg_catalog.pg_rewrite'::regclass
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid and rule.ev_class <> above.oid
    where above.depth < 100
)
select oid, max(depth) as depth from above group by oid
"""
"""How far above these relations each view is. A view has more than any view that it reads."""


class Busy(Exception):
    """This try did not get its locks. The text says what was in the way."""


@dataclass(frozen=True)
class Stands:
    """A relation as the catalog has it."""

    oid: int
    kind: str
    """`table` or `view`; the server's letter for anything else."""
    owner: str
    statistics: tuple[Name, ...] = ()
    """Its extended statistics, which do not move along by themselves."""


@dataclass(frozen=True)
class Place:
    """One relation of a swap: what leaves, what comes, and where to."""

    name: Name
    """Of the live relation, before and after."""
    old: str
    """The schema where the former relation is kept."""
    incoming: Name
    coming: Stands
    leaving: Stands | None


def stands(session: Session, name: Name) -> Stands | None:
    """What stands under this name."""
    rows = session.rows(STANDS, {"schema": name.schema, "name": name.name})
    if not rows:
        return None
    statistics = session.rows(STATISTICS, {"oid": rows[0]["oid"]})
    return Stands(
        rows[0]["oid"],
        WORDS.get(rows[0]["kind"], rows[0]["kind"]),
        rows[0]["owner"],
        tuple(Name("", row["schema"], row["name"]) for row in statistics),
    )


def live_oids(session: Session, parts: Sequence[Part]) -> list[int]:
    """The OIDs of the live relations that are there."""
    return [found.oid for part in parts if (found := stands(session, part.live))]


def places(session: Session, run: str, parts: Sequence[Part]) -> list[Place]:
    """Where everything is now. Raises RefreshRefused where nothing was built."""
    lives = schemas.live_schemas(parts)
    found = []
    for part in parts:
        coming = stands(session, part.incoming)
        if coming is None:
            raise RefreshRefused(f"{part.name}: there is no {part.incoming.shown}.")
        old = schemas.name_of(schemas.OLD, run, part.live.schema, lives)
        found.append(Place(part.live, old, part.incoming, coming, stands(session, part.live)))
    return found


def moves(places: Sequence[Place]) -> list[str]:
    """The statements that change places; first everything leaves, then everything comes."""
    statements = []
    for place in places:
        if leaving := place.leaving:
            word, old = leaving.kind, quoted(place.old)
            statements.append(f"alter {word} {place.name} set schema {old}")
            statements += [
                f"alter statistics {name} set schema {old}" for name in leaving.statistics
            ]
    for place in places:
        live = quoted(place.name.schema)
        statements.append(f"alter {place.coming.kind} {place.incoming} set schema {live}")
        former = {
            name.name: name.schema for name in (place.leaving.statistics if place.leaving else ())
        }
        statements += [
            f"alter statistics {name} set schema {quoted(former.get(name.name, place.name.schema))}"
            for name in place.coming.statistics
            if name.schema == place.incoming.schema
        ]
    return statements


def views_on(session: Session, places: Sequence[Place]) -> list[View]:
    """The views that read what leaves and are not swapped themselves, outermost first."""
    leaving = [place.leaving.oid for place in places if place.leaving]
    return others_views(session, leaving, [*leaving, *(place.coming.oid for place in places)])


def others_views(session: Session, live: Sequence[int], swapped: Sequence[int]) -> list[View]:
    """The views on `live` without those that are `swapped`, and without what is kept: a former view
    goes on reading the former relation."""
    kept = {schema.name for schema in schemas.found(session) if schema.is_kept}
    views = dependents.direct_views(session, live, swapped)
    return [view for view in views if view.name.schema not in kept]


def swap(
    session: Session,
    run: str,
    parts: Sequence[Part],
    state: State,
    options: RefreshOptions,
    report: Report,
) -> Swapped:
    """See `Refresher`. An error of the connection leaves open whether the swap has happened."""
    attempt = _Swap(session, run, parts, state, options)
    deadline = time.monotonic() + options.lock_seconds
    reported = 0.0
    while True:
        attempt.tries += 1
        try:
            attempt.run()
            break
        except Busy as busy:
            if time.monotonic() > deadline:
                raise RefreshRefused(
                    f"The locks of the swap could not be had in {options.lock_seconds} s: {busy}.",
                    "Nothing has changed. Try again when it has ended.",
                ) from busy
            if not reported or time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                report(f"Waits for a lock: {busy}.")
            time.sleep(random.uniform(*PAUSE_SECONDS))
    mine = [schema for schema in schemas.found(session) if schema.is_kept and schema.run == run]
    return Swapped(
        tuple(schemas.kept_in(session, mine)),
        round(attempt.lock_seconds, 4),
        round(attempt.wait_seconds, 4),
        attempt.tries,
    )


class _Swap:
    """The tries of one swap."""

    def __init__(
        self,
        session: Session,
        run: str,
        parts: Sequence[Part],
        state: State,
        options: RefreshOptions,
    ) -> None:
        self._session = session
        self._run = run
        self._parts = parts
        self._state = state
        self._options = options
        self._held: list[int] = []
        """The relations that this try has locked so far."""
        self._wanted = 0
        """The one that it has waited for last."""
        self._readers = False
        """Whether readers are in the way of that."""
        self.tries = 0
        self.lock_seconds = 0.0
        self.wait_seconds = 0.0

    def run(self) -> None:
        """One try. Raises Busy, or RefreshRefused."""
        try:
            # What the server writes here has every name with its schema, and is read so again.
            with self._session.transaction(), self._session.qualified():
                since = self._swap()
            self.lock_seconds = time.monotonic() - since
        except psycopg2.errors.LockNotAvailable as error:
            holders = locks.holders(self._session, [self._wanted], self._readers)
            raise Busy(f"it is held by {holders}") from error
        except (psycopg2.errors.DeadlockDetected, psycopg2.errors.UndefinedTable) as error:
            raise Busy(words(error)) from error
        except psycopg2.errors.InternalError_ as error:
            if "concurrently" not in str(error):
                raise
            raise Busy(words(error)) from error

    def _swap(self) -> float:
        """All statements of the transaction; returns when readers were first kept waiting."""
        session = self._session
        session.execute("set local statement_timeout = 0")
        moving = places(session, self._run, self._parts)
        self._take_incoming(moving)
        self._keep_writers_out(moving)
        began = time.monotonic()
        if any(stands(session, place.name) != place.leaving for place in moving):
            raise Busy("somebody has just put another relation there")
        leaving = [place.leaving.oid for place in moving if place.leaving]
        # First, as the comparison reads whole tables, and keeps nobody from making a view on them.
        before = self._fingerprint(leaving)
        require_carried(session, self._parts)
        self._compare()
        check_incoming(session, moving)
        patience = time.monotonic() - began
        replacing = [part for part, place in zip(self._parts, moving, strict=True) if place.leaving]
        self._make_live_schemas()
        schemas.create_kept(session, self._run, self._parts, replacing, self._options.keep_days)
        views = views_on(session, moving)
        statements = [
            *moves(moving),
            *(dependents.replaced(view, view.definition) for view in views),
            *(f"drop schema {quoted(schema)}" for schema in self._emptied(moving)),
        ]
        self._let_dumps_begin()
        since = self._keep_readers_out(moving, views, patience)
        if self._fingerprint(leaving) != before:
            raise Busy("somebody has just changed it, or made a view on it")
        execute_all(session, [lock_timeout(NEXT_SECONDS), *statements])
        # As late as can be: the next dump takes longer to log in than we to commit.
        self._let_dumps_begin()
        return since

    # Locks

    def _take_incoming(self, moving: Sequence[Place]) -> None:
        """Nobody reads what is aside, but autovacuum may be at it, and gives way after a second."""
        self._held, self._readers = [], True
        for place in moving:
            self._yield()
            self._lock(exclusive(place.incoming, place.coming), place.coming.oid, FIRST_SECONDS)

    def _keep_writers_out(self, moving: Sequence[Place]) -> None:
        """Readers go on. Another swap of the same table waits here."""
        self._readers = False
        tables = [
            (place.leaving.oid, place.name)
            for place in moving
            if place.leaving and place.leaving.kind == "table"
        ]
        # What could not be had begins the next try: the first may wait longer.
        tables.sort(key=lambda table: (table[0] != self._wanted, table[0]))
        deadline = 0.0
        for oid, name in tables:
            self._yield()
            seconds = deadline - time.monotonic() if deadline else FIRST_SECONDS
            self._lock(f"lock table {name} in share row exclusive mode", oid, seconds)
            deadline = deadline or time.monotonic() + self._budget

    def _keep_readers_out(
        self, moving: Sequence[Place], views: Sequence[View], patience: float
    ) -> float:
        """Tries for `patience` seconds, which is what the comparison took: a long one is not
        repeated for each try. Returns when the last try began."""
        statements = self._exclusive(moving, views)
        self._readers = True
        give_up = time.monotonic() + patience
        while True:
            self._yield()
            held = [*self._held]
            self._session.execute("savepoint readers")
            since = time.monotonic()
            try:
                for oid, statement in statements:
                    self._lock(statement, oid, since + self._budget - time.monotonic())
                return since
            except psycopg2.errors.LockNotAvailable:
                if time.monotonic() > give_up:
                    raise
                self._session.execute("rollback to savepoint readers")
                self._held = held
                self.tries += 1
            finally:
                self.wait_seconds = max(self.wait_seconds, time.monotonic() - since)
            time.sleep(random.uniform(*PAUSE_SECONDS))

    def _exclusive(self, moving: Sequence[Place], views: Sequence[View]) -> list[tuple[int, str]]:
        """Statements that lock, by OID: views from the outermost, as readers take them; tables."""
        found = [
            (place.leaving.oid, exclusive(place.name, place.leaving))
            for place in moving
            if place.leaving
        ]
        oids = [oid for oid, _ in found]
        found += [
            (view.oid, exclusive(view.name, Stands(view.oid, "view", view.owner))) for view in views
        ]
        depths = {row["oid"]: row["depth"] for row in self._session.rows(DEPTHS, {"oids": oids})}
        return sorted(found, key=lambda lock: (-depths[lock[0]], lock[0]))

    def _yield(self) -> None:
        """Before a wait: whoever waits for us already might find a deadlock during it, and that is
        an error for one of us. Whoever begins to wait later looks for one after our wait."""
        if self._held and locks.somebody_waits(self._session, self._held):
            raise Busy("somebody waits for the swap itself")

    def _lock(self, statement: str, oid: int, seconds: float) -> None:
        self._wanted = oid
        self._session.execute(f"{lock_timeout(seconds)}; {statement}")
        self._held.append(oid)

    @cached_property
    def _budget(self) -> float:
        """Seconds for all locks after the first."""
        (row,) = self._session.rows(
            "select setting::integer as ms from pg_catalog.pg_settings "
            "where name = 'deadlock_timeout'"
        )
        return float(min(NEXT_SECONDS, row["ms"] / 1000 * DEADLOCK_SHARE))

    def _let_dumps_begin(self) -> None:
        """Raises Busy if a dump has listed what stands aside, and would not find it any more."""
        if dumps := locks.dumps_beginning(self._session):
            raise Busy(f"a dump begins: {dumps}")

    # What must hold

    def _compare(self) -> None:
        """Raises RefreshRefused if anything has changed since the refresh began."""
        for part in self._parts:
            before = self._state.properties.get(part.node)
            now = properties.read(self._session, part.live)
            if before is None and now is None:
                continue
            if before is None or now is None:
                raise changed(part, "It is gone." if now is None else "It is new.")
            # A view that is new or another reads what comes as well, or the swap fails as a whole.
            before = replace(before, views=now.views)
            if before != now:
                raise changed(part, " ".join(properties.differences(before, now)))
            marker = self._state.markers.get(part.node)
            if marker is not None and markers.read(self._session, part.live) != marker:
                raise changed(part, "Somebody has written to it.")

    def _make_live_schemas(self) -> None:
        """dbt makes a schema that is not there, but has made only the one aside."""
        for schema in schemas.live_schemas(self._parts):
            if not self._session.rows(SCHEMA, {"schema": schema}):
                self._session.execute(f"create schema {quoted(schema)}")

    def _emptied(self, moving: Sequence[Place]) -> Iterator[str]:
        """Our schemas that hold nothing after the swap."""
        coming = [place.coming.oid for place in moving]
        sources = {place.incoming.schema for place in moving}
        for schema in schemas.found(self._session):
            mine = not schema.is_kept and schema.run == self._run
            if (mine or schema.name in sources) and not _left(self._session, schema.name, coming):
                yield schema.name

    def _fingerprint(self, oids: Sequence[int]) -> str:
        return str(self._session.rows(FINGERPRINT, {"oids": [*oids]})[0]["fingerprint"])


def require_carried(session: Session, parts: Sequence[Part]) -> None:
    """Raises RefreshRefused, as the preview would, where a swap cannot carry over what is there."""
    live = live_oids(session, parts)
    for part in parts:
        undo = part.incoming.schema.startswith(schemas.OLD)
        found = refusals.offered(refusals.refusals(session, part.live, live), undo)
        if found:
            raise RefreshRefused(" ".join(map(str, found)))


def check_incoming(session: Session, moving: Sequence[Place]) -> None:
    """Raises RefreshRefused where the swap would not give what was built."""
    coming = {place.coming.oid: place.name.shown for place in moving}
    leaving = [place.leaving.oid for place in moving if place.leaving]
    for place in moving:
        name = place.name.shown
        for which in (place.coming, place.leaving):
            if which and which.kind not in WORDS.values():
                raise RefreshRefused(f"{name} is neither table nor view.")
        values = {"incoming": place.coming.oid, "schema": place.name.schema, "leaving": leaving}
        if taken := ", ".join(row["name"] for row in session.rows(TAKEN, values)):
            raise RefreshRefused(
                f"The new {name} brings names that other relations of its schema have: {taken}.",
                "Rename them there, or in the model.",
            )
    ours = {schema.name: schema for schema in schemas.found(session)}
    for row in session.rows(READS, {"oids": [*coming]}):
        reader, below = coming[row["reader"]], Name("", row["schema"], row["name"]).shown
        if row["below"] in leaving:
            raise RefreshRefused(
                f"The new {reader} reads the present {below}, which is replaced.",
                "Its query must name it by `ref`.",
            )
        if row["schema"] in ours and row["below"] not in coming:
            raise RefreshRefused(
                f"{reader} would read {below}, which is not at its place.",
                "Choose both together.",
            )
    for schema in {place.incoming.schema for place in moving} & ours.keys():
        left = "" if ours[schema].is_kept else ", ".join(_left(session, schema, [*coming]))
        if left:
            raise RefreshRefused(
                f"More was built aside than the models, and the swap would lose it: {left}.",
                "If a hook makes it, let it name a schema of its own, or refresh `in_place`.",
            )


def _left(session: Session, schema: str, coming: Sequence[int]) -> list[str]:
    rows = session.rows(LEFT, {"schema": schema, "coming": [*coming]})
    return [f"{row['type']} {row['identity']}" for row in rows]


def changed(part: Part, how: str) -> RefreshRefused:
    return RefreshRefused(
        f"{part.live.shown} has changed since the refresh began. {how}",
        "Refresh again when nobody else writes to it.",
        CheckName.WRITES,
    )


def lock_timeout(seconds: float) -> str:
    # 0 would be no limit.
    return f"set local lock_timeout = {max(1, round(seconds * 1000))}"


def exclusive(name: Name, relation: Stands) -> str:
    """The statement that keeps everybody out. LOCK TABLE on a view would lock what it reads, too;
    giving a view to its owner changes nothing."""
    if relation.kind == "view":
        return f"alter view {name} owner to {quoted(relation.owner)}"
    return f"lock table {name} in access exclusive mode"


def execute_all(session: Session, statements: Sequence[str]) -> None:
    """Together, so that readers do not wait for our round trips."""
    if statements:
        session.execute(";\n".join(statements))
