"""How a relation is given what another one has, by statements that run before the swap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mage_dbt.model.refresh import CheckName
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.postgres import literal
from mage_dbt.warehouse.refresh import RefreshRefused
from mage_dbt.warehouse.refresh.postgres.dependents import by_position
from mage_dbt.warehouse.refresh.postgres.relation import (
    CONSTRAINT_KINDS,
    PUBLIC,
    TABLE,
    VIEW,
    Constraint,
    Grant,
    Index,
    Properties,
)

MADE_BY_DBT = re.compile(r"[0-9a-f]{32}")
"""The names of dbt-postgres' indexes: a hash of their columns, the relation and the time."""

ORDER = [*CONSTRAINT_KINDS]
STORAGES = {"p": "plain", "e": "external", "x": "extended", "m": "main"}
COMPRESSIONS = {"p": "pglz", "l": "lz4"}
STATISTICS = {"d": "ndistinct", "f": "dependencies", "m": "mcv"}
LOGGED = {"p": "logged", "u": "unlogged", "t": "temporary"}


@dataclass(frozen=True)
class Carried:
    """How a relation is given what another one has."""

    statements: tuple[str, ...]
    """To be run in order, by themselves, before the swap. Every name is qualified, so any
    search_path will do; that of the role suits the functions which an index may call."""
    notes: tuple[str, ...]
    """Sentences on what it does not get."""


def carry(
    live: Properties,
    incoming: Properties,
    at: Name,
    exact: bool = False,
    parts: Sequence[int] = (),
) -> Carried:
    """How the relation at `at`, which is as `incoming`, is given what the live one has.

    What the new relation has already stays: it is the model's. With `exact` its rights become just
    the live ones, as for a former relation that comes back. `parts` are the OIDs of the live
    relations that are swapped together. Raises RefreshRefused where something cannot be kept.
    """
    return _Carrying(live, incoming, at, exact, parts).all()


class _Carrying:
    def __init__(
        self,
        live: Properties,
        incoming: Properties,
        at: Name,
        exact: bool,
        parts: Sequence[int],
    ) -> None:
        self._live = live
        self._incoming = incoming
        self._at = at
        self._exact = exact
        self._parts = parts
        self._statements: list[str] = []
        self._notes: list[str] = []
        self._columns = {column.name: column for column in incoming.columns}
        self._is_table = incoming.kind == TABLE
        self._indexes_there = {index.name for index in incoming.indexes}
        self._constraints_there = {con.name for con in incoming.constraints}
        self._noun = "table" if self._is_table else "view"

    def all(self) -> Carried:
        if self._is_table and self._live.kind == TABLE:
            self._generated()
            self._names_by_position()
            self._place()
            self._column_details()
            self._indexes()
            self._constraints()
            self._extended()
            self._marks()
        else:
            self._names_by_position()
            self._defaults_of_views()
            self._not_for_another_kind()
        self._options()
        self._comments()
        self._owner()
        self._grants()
        return Carried(tuple(self._statements), tuple(self._notes))

    def _do(self, statement: str) -> None:
        self._statements.append(statement)

    def _alter(self, change: str) -> None:
        self._do(f"alter {self._noun} {self._at} {change}")

    def _within(self, name: str) -> str:
        """The name of something in the new relation's schema."""
        return str(Name(self._at.database, self._at.schema, name))

    def _lacks(self, what: str, columns: Iterable[str]) -> bool:
        gone = [column for column in columns if column not in self._columns]
        if gone:
            self._notes.append(
                f"The {what} is not made again: it uses {', '.join(gone)}, which "
                f"{'goes' if len(gone) == 1 else 'go'} away."
            )
        return bool(gone)

    # Columns

    def _generated(self) -> None:
        for column in self._live.columns:
            if not column.generated:
                continue
            there = self._columns.get(column.name)
            if there is None:
                how = "virtual" if column.generated == "v" else "stored"
                collate = f" collate {column.collation}" if column.collation else ""
                self._alter(
                    f"add column {quoted(column.name)} {column.type}{collate} "
                    f"generated always as ({column.default}) {how}"
                )
                self._columns[column.name] = replace(
                    column, not_null=False, storage="", compression="", statistics=None,
                    options=(), comment=None, grants=(),
                )  # fmt: skip
            elif not there.generated:
                raise RefreshRefused(
                    f"The column {column.name} of {self._live.name.shown} is a generated one, and "
                    "the model fills it itself.",
                    "Take it out of the model or make it an ordinary column first.",
                )

    def _names_by_position(self) -> None:
        """Refuses views that would take another column for one of theirs, without an error."""
        before = [column.name for column in self._live.columns]
        views = [view for view in self._live.views if view.oid not in self._parts]
        found = [
            view.name.shown
            for view in views
            if by_position(view, self._live.oid, before, [*self._columns])
        ]
        if found:
            raise RefreshRefused(
                f"The view {found[0]} names the columns of {self._live.name.shown} by their "
                "positions, which are others in the new relation.",
                "Let the view name the columns itself, without a list of names in its FROM.",
                CheckName.DEPENDENTS,
            )

    def _column_details(self) -> None:
        named = {con.columns for con in self._live.constraints if con.kind == "n"}
        for column in self._live.columns:
            there = self._columns.get(column.name)
            if there is None:
                continue
            name = f"alter column {quoted(column.name)}"
            if column.not_null and not there.not_null and (column.name,) not in named:
                self._alter(f"{name} set not null")
            if column.default is not None and there.default is None:
                self._alter(f"{name} set default {column.default}")
            if column.collation != there.collation:
                self._notes.append(
                    f"The collation of {column.name} is the model's: "
                    f"{there.collation or 'the default'}, not {column.collation or 'the default'}."
                )
            if column.type == there.type and column.storage and not there.storage:
                self._alter(f"{name} set storage {STORAGES[column.storage]}")
            if column.compression and not there.compression and column.type == there.type:
                self._alter(f"{name} set compression {COMPRESSIONS[column.compression]}")
            if column.statistics is not None and there.statistics is None:
                self._alter(f"{name} set statistics {column.statistics}")
            if lacking := _lacking(column.options, there.options):
                self._alter(f"{name} set ({lacking})")

    def _defaults_of_views(self) -> None:
        if self._live.kind != VIEW or self._incoming.kind != VIEW:
            return
        for column in self._live.columns:
            there = self._columns.get(column.name)
            if there and column.default is not None and there.default is None:
                self._alter(f"alter column {quoted(column.name)} set default {column.default}")

    # Indexes and constraints

    def _indexes(self) -> None:
        theirs = {index.name: index for index in self._incoming.indexes if not index.constraint}
        mine = [index for index in self._live.indexes if not index.constraint]
        for index in mine:
            if index.name in theirs and theirs.pop(index.name).form != index.form:
                self._notes.append(f"The index {index.name} is the one that the model makes.")
        # What dbt makes has a counterpart in what dbt has made; only then others'.
        for index in sorted(
            (index for index in mine if index.name not in self._indexes_there),
            key=lambda index: not MADE_BY_DBT.fullmatch(index.name),
        ):
            if self._lacks(f"index {index.name}", index.columns):
                continue
            twin = next((name for name, other in theirs.items() if other.form == index.form), None)
            if twin is not None:
                theirs.pop(twin)
                self._do(f"alter index {self._within(twin)} rename to {quoted(index.name)}")
                self._indexes_there = self._indexes_there - {twin} | {index.name}
            elif MADE_BY_DBT.fullmatch(index.name):
                self._notes.append(
                    f"The index {index.name} ({index.definition}) is not made again: dbt made it, "
                    "and the model no longer has it."
                )
            elif not index.valid:
                self._notes.append(f"The index {index.name} is not made again: it is invalid.")
            else:
                self._make(index)

    def _make(self, index: Index) -> None:
        unique = "unique " if index.unique else ""
        self._do(
            f"create {unique}index {quoted(index.name)} on {self._at} using {index.definition}"
        )
        self._indexes_there |= {index.name}
        self._place_index(index)

    def _place_index(self, index: Index) -> None:
        if index.tablespace:
            self._do(
                f"alter index {self._within(index.name)} set tablespace {quoted(index.tablespace)}"
            )
        for position, target in index.statistics:
            self._do(
                f"alter index {self._within(index.name)} alter column {position} "
                f"set statistics {target}"
            )

    def _constraints(self) -> None:
        theirs = {con.name: con for con in self._incoming.constraints}
        mine = sorted(self._live.constraints, key=lambda con: ORDER.index(con.kind))
        names = {con.name for con in self._live.constraints}
        has_key = any(con.kind == "p" for con in theirs.values())
        left = {name: con for name, con in theirs.items() if name not in names}
        for con in mine:
            what = f"{CONSTRAINT_KINDS[con.kind]} {con.name}"
            if con.name in theirs:
                if _form(theirs[con.name]) != _form(con):
                    self._notes.append(f"The {what} is the one that the model makes.")
                continue
            twin = next((name for name, other in left.items() if _form(other) == _form(con)), None)
            if twin is not None:
                index = left.pop(twin).index
                self._alter(f"rename constraint {quoted(twin)} to {quoted(con.name)}")
                self._constraints_there = self._constraints_there - {twin} | {con.name}
                if index:
                    self._indexes_there = self._indexes_there - {index} | {con.index}
            elif con.kind == "f":
                raise RefreshRefused(f"{self._live.name.shown} has the foreign key {con.name}.")
            elif self._lacks(what, con.columns):
                continue
            elif con.index and con.index in self._indexes_there:
                self._notes.append(f"The {what} is not made again: the model makes such an index.")
            elif con.kind == "p" and has_key:
                self._notes.append(f"The {what} is not made again: the model makes another.")
            elif con.kind == "n" and any(
                other.kind == "n" and other.columns == con.columns for other in theirs.values()
            ):
                continue  # of another kind: the model's
            else:
                self._constrain(con)

    def _constrain(self, con: Constraint) -> None:
        name = quoted(con.name)
        self._constraints_there.add(con.name)
        index = next((index for index in self._live.indexes if index.name == con.index), None)
        if con.kind in "pu" and index is not None and not con.period:
            # So it keeps what ADD CONSTRAINT does not take: an index's own options and place.
            kind = "primary key" if con.kind == "p" else "unique"
            when = " deferrable" if con.deferrable else ""
            when += " initially deferred" if con.deferred else ""
            self._make(index)
            self._alter(f"add constraint {name} {kind} using index {name}{when}")
            return
        self._alter(f"add constraint {name} {con.definition}")
        if index is not None:
            self._indexes_there |= {index.name}
            self._place_index(index)

    def _extended(self) -> None:
        there = {found.name.name for found in self._incoming.statistics}
        for found in self._live.statistics:
            own = found.name.name
            if own in there or self._lacks(f"statistics {own}", found.columns):
                continue
            name = self._within(own)
            kinds = ", ".join(word for kind, word in STATISTICS.items() if kind in found.kinds)
            self._do(
                f"create statistics {name}{f' ({kinds})' if kinds else ''} on {found.definition} "
                f"from {self._at}"
            )
            if found.target is not None:
                self._do(f"alter statistics {name} set statistics {found.target}")
            if found.comment is not None:
                self._do(f"comment on statistics {name} is {literal(found.comment)}")

    def _marks(self) -> None:
        identity = self._live.replica_identity
        if identity != "default" and self._incoming.replica_identity == "default":
            index = identity.removeprefix("index ")
            if index == identity:
                self._alter(f"replica identity {identity}")
            elif index in self._indexes_there:
                self._alter(f"replica identity using index {quoted(index)}")
            else:
                self._notes.append(f"The replica identity is lost with the index {index}.")
        if self._live.cluster and not self._incoming.cluster:
            if self._live.cluster in self._indexes_there:
                self._alter(f"cluster on {quoted(self._live.cluster)}")
            else:
                self._notes.append(
                    f"The mark for CLUSTER is lost with the index {self._live.cluster}."
                )

    # The relation

    def _place(self) -> None:
        if self._live.tablespace and not self._incoming.tablespace:
            self._alter(f"set tablespace {quoted(self._live.tablespace)}")
        for what, was, becomes in (
            ("access method", self._live.access_method, self._incoming.access_method),
            (
                "persistence",
                LOGGED.get(self._live.persistence, ""),
                LOGGED.get(self._incoming.persistence, ""),
            ),
        ):
            if was != becomes:
                self._notes.append(f"The {what} is the model's: {becomes}, not {was}.")

    def _not_for_another_kind(self) -> None:
        if self._live.kind == self._incoming.kind:
            return
        for found, what in (
            (self._live.indexes, "indexes"),
            (self._live.constraints, "constraints"),
            (self._live.statistics, "statistics"),
        ):
            if found:
                names = ", ".join(str(item.name) for item in found)
                self._notes.append(f"A {self._noun} has no {what}: {names} are not made again.")

    def _options(self) -> None:
        if self._live.kind != self._incoming.kind:
            return
        if lacking := _lacking(self._live.options, self._incoming.options):
            self._alter(f"set ({lacking})")

    def _comments(self) -> None:
        if self._live.comment is not None and self._incoming.comment is None:
            self._do(f"comment on {self._noun} {self._at} is {literal(self._live.comment)}")
        for column in self._live.columns:
            there = self._columns.get(column.name)
            if there and column.comment is not None and there.comment is None:
                self._do(
                    f"comment on column {self._at}.{quoted(column.name)} "
                    f"is {literal(column.comment)}"
                )
        if not self._is_table or self._live.kind != TABLE:
            return
        commented = {index.name for index in self._incoming.indexes if index.comment is not None}
        for index in self._live.indexes:
            if index.comment is not None and index.name in self._indexes_there - commented:
                self._do(f"comment on index {self._within(index.name)} is {literal(index.comment)}")
        commented = {con.name for con in self._incoming.constraints if con.comment is not None}
        for con in self._live.constraints:
            if con.comment is None or con.name in commented:
                continue
            if con.name not in self._constraints_there:
                continue
            self._do(
                f"comment on constraint {quoted(con.name)} on {self._at} is {literal(con.comment)}"
            )

    def _owner(self) -> None:
        owner, schema = quoted(self._live.owner), quoted(self._at.schema)
        changes = []
        if self._live.owner != self._incoming.owner:
            changes.append(f"alter {self._noun} {self._at} owner to {owner}")
        for found in self._live.statistics if self._is_table else ():
            if found.owner != self._incoming.owner and not self._lost(found.columns):
                changes.append(
                    f"alter statistics {self._within(found.name.name)} owner to "
                    f"{quoted(found.owner)}"
                )
        if changes:
            # An owner must have CREATE in the schema at the moment it becomes one.
            owners = {owner} | {quoted(found.owner) for found in self._live.statistics}
            others = sorted(owners - {quoted(self._incoming.owner)})
            self._do(f"grant create on schema {schema} to {', '.join(others)}")
            self._statements += changes
            self._do(f"revoke create on schema {schema} from {', '.join(others)}")

    def _lost(self, columns: Iterable[str]) -> bool:
        return any(column not in self._columns for column in columns)

    def _grants(self) -> None:
        owner, mine = self._live.owner, self._incoming.owner

        def of_owner(grants: Iterable[Grant]) -> list[Grant]:
            """As they are once the owner has changed."""
            return [
                replace(grant, grantee=owner) if grant.grantee == mine else grant
                for grant in grants
            ]

        given = [] if self._exact else of_owner(self._incoming.given)
        self._align(self._live.grants, of_owner(self._incoming.grants), given, "")
        for column in self._live.columns:
            if there := self._columns.get(column.name):
                self._align(column.grants, of_owner(there.grants), [], quoted(column.name))
        others = {
            f"{grant.privilege} for {grant.grantee or 'public'} by {grant.grantor}"
            for grants in (self._live.grants, *(column.grants for column in self._live.columns))
            for grant in grants
            if grant.grantor != owner
        }
        if others:
            rights = ", ".join(sorted(others))
            self._notes.append(f"What others have granted is granted by the owner now: {rights}.")

    def _align(
        self, wanted: Iterable[Grant], have: list[Grant], given: list[Grant], column: str
    ) -> None:
        """Grants what is wanted and not there, and takes back what is there and not wanted.

        Only what is `given` to any new relation is taken back: the rest the model has granted.
        """
        want, has, default = _rights(wanted), _rights(have), _rights(given)
        more = {
            right: grantable
            for right, grantable in want.items()
            if right not in has or (grantable and not has[right])
        }
        less = [right for right in has if right not in want]
        options = [right for right in has if has[right] and right in want and not want[right]]
        if not self._exact:
            less = [right for right in less if right in default]
            options = [right for right in options if default.get(right)]
        for prefix, rights in (("", less), ("grant option for ", options)):
            for grantee, _, words in _grouped(dict.fromkeys(rights, False), column):
                self._do(
                    f"revoke {prefix}{words} on table {self._at} from {_role(grantee)} cascade"
                )
        for grantee, grantable, words in _grouped(more, column):
            end = " with grant option" if grantable else ""
            self._do(f"grant {words} on table {self._at} to {_role(grantee)}{end}")


def _form(con: Constraint) -> tuple[Any, ...]:
    return (con.kind, con.definition)


def _lacking(mine: Iterable[tuple[str, str]], theirs: Iterable[tuple[str, str]]) -> str:
    there = {name for name, _ in theirs}
    return ", ".join(
        f"{'.'.join(quoted(part) for part in name.split('.', 1))} = {literal(value)}"
        for name, value in mine
        if name not in there
    )


def _rights(grants: Iterable[Grant]) -> dict[tuple[str, str], bool]:
    """By grantee and privilege, whether it may be granted on."""
    found: dict[tuple[str, str], bool] = {}
    for grant in grants:
        right = (grant.grantee, grant.privilege)
        found[right] = found.get(right, False) or grant.grantable
    return found


def _grouped(rights: Mapping[tuple[str, str], bool], column: str) -> list[tuple[str, bool, str]]:
    """Grantee, whether it may grant on, and the privileges; in the order of the grantees."""
    found: dict[tuple[str, bool], list[str]] = {}
    for (grantee, privilege), grantable in rights.items():
        words = found.setdefault((grantee, grantable), [])
        words.append(f"{privilege} ({column})" if column else privilege)
    return [(*key, ", ".join(words)) for key, words in found.items()]


def _role(name: str) -> str:
    return "public" if name == PUBLIC else quoted(name)
