"""The present rows against the new ones, in bounded time: by key, or as whole rows.

All statements see one snapshot. A big relation is compared by a sample: the keys whose hash ends in
some number of zero bits, the same keys on both sides. It begins with few keys, measures, and goes
on with as many as the time allows; when a larger sample does not end in time, the last one counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from psycopg2 import errorcodes

from mage_dbt.model.refresh import ColumnComparison, Comparison
from mage_dbt.warehouse.names import Name, quoted
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.refresh.postgres import sides
from mage_dbt.warehouse.refresh.postgres.budget import Budget, NotCompared
from mage_dbt.warehouse.refresh.postgres.pairing import (
    MOST_EXAMPLES,
    ByKey,
    Example,
    Examples,
    NoKey,
    Outcome,
    Pair,
    WholeRows,
)
from mage_dbt.warehouse.refresh.postgres.sides import Shown, Side
from mage_dbt.warehouse.session import Session

SETTINGS = (
    "transaction isolation level repeatable read, read only",
    "local jit = off",  # it would compile hundreds of columns, for longer than they take
    "local extra_float_digits = 1",  # all digits
    "local work_mem = '64MB'",
)

ABSENT = (errorcodes.UNDEFINED_TABLE, errorcodes.INVALID_SCHEMA_NAME)

ROWS = "select count(*) as rows{counts} from {relation}"

STATISTICS = """
select statistics.attname::text as name, n_distinct,
    most_common_vals::text::text[] as common, most_common_freqs as shares
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
join pg_catalog.pg_stats as statistics
    on statistics.schemaname = space.nspname and statistics.tablename = class.relname
where class.oid = {oid} and not inherited
"""


def compare(session: Session, part: Part, seconds: float) -> Comparison:
    """The live relation against the incoming one, in about `seconds` at most.

    No transaction stays open: its snapshot would keep the new rows from being frozen.
    """
    begun = time.monotonic()
    found = Comparison(part.node, part.name)
    if seconds <= 0:
        return replace(found, unknown="REFRESH_COMPARE_SECONDS is 0")
    budget = Budget(session, seconds)
    try:
        _analyze(budget, part.incoming)
        with session.transaction():
            for setting in SETTINGS:
                session.execute(f"set {setting}")
            found = _compared(budget, part, found)
    except NotCompared as error:
        found = replace(found, unknown=str(error))
    return replace(found, seconds=round(time.monotonic() - begun, 3))


def _analyze(budget: Budget, name: Name) -> None:
    """Has the server estimate the distinct values, where that does not take too long."""
    session = budget.session
    try:
        with session.transaction():
            budget.bounded(lambda: session.execute(f"analyze {sides.in_sql(name)}"), 0.3)
    except NotCompared:
        pass  # whether it is there is seen later


def _compared(budget: Budget, part: Part, found: Comparison) -> Comparison:
    # Locks come first: an older snapshot sees no row of a table that is swapped in meanwhile.
    before_is_there, after_is_there = (_lock(budget, name) for name in (part.live, part.incoming))
    if not after_is_there:
        raise NotCompared("there is no new relation")
    after = _side(budget, part.incoming)
    if not before_is_there:
        rows = _count(budget, after, 1).rows
        return replace(found, rows_after=rows, unknown="the relation is new")
    before = _side(budget, part.live)
    try:
        counted = _count(budget, before, 0.5), _count(budget, after, 0.5)
    except NotCompared as error:
        return replace(
            found,
            rows_before=before.row_estimate,
            rows_after=after.row_estimate,
            unknown=f"{error}; the numbers of rows are the server's estimates",
        )
    return Comparing(budget, part, before, after, counted).comparison()


def _lock(budget: Budget, name: Name) -> bool:
    """Keeps the relation's definition as it is; whether there is one."""
    sql = f"lock table {sides.in_sql(name)} in access share mode"
    try:
        budget.bounded(lambda: budget.session.execute(sql))
    except NotCompared as error:
        if error.code in ABSENT:
            return False
        if error.code != errorcodes.WRONG_OBJECT_TYPE:  # a materialized view
            raise
    return True


def _side(budget: Budget, name: Name) -> Side:
    found = budget.bounded(lambda: sides.read(budget.session, name))
    if found is None:
        raise NotCompared(f"{sides.in_sql(name)} is no table and no view")
    return found


@dataclass(frozen=True)
class Counted:
    """One side's rows and nulls, all of them."""

    rows: int
    nulls: Mapping[str, int]


def _count(budget: Budget, side: Side, share: float) -> Counted:
    counts = (f", count({quoted(name)}) as c{at}" for at, name in enumerate(side.columns))
    [row] = budget.rows(ROWS.format(counts="".join(counts), relation=side.name), share)
    nulls = {name: row["rows"] - row[f"c{at}"] for at, name in enumerate(side.columns)}
    return Counted(row["rows"], nulls)


@dataclass(frozen=True)
class Estimated:
    """What the server's last ANALYZE says of a column."""

    distinct: int | None = None
    common: tuple[tuple[str, str], ...] = ()
    """The most common values: share and text."""


def _estimated(budget: Budget, side: Side, rows: int) -> dict[str, Estimated]:
    """By column; empty for a view."""
    try:
        found = budget.rows(STATISTICS.format(oid=side.oid))
    except NotCompared:
        return {}
    estimated = {}
    for row in found:
        distinct = row["n_distinct"]  # below zero: in proportion to the rows
        number = round(distinct if distinct > 0 else -distinct * rows) or None
        written = side.columns[row["name"]].written
        values = zip(row["shares"] or (), row["common"] or (), strict=False)
        common = tuple(
            (f"{share:.0%}".replace("%", " %"), written(value)) for share, value in values
        )
        estimated[row["name"]] = Estimated(number, common[:MOST_EXAMPLES])
    return estimated


class Comparing:
    """The comparison of two relations that are there."""

    def __init__(
        self,
        budget: Budget,
        part: Part,
        before: Side,
        after: Side,
        counted: tuple[Counted, Counted],
    ) -> None:
        self._budget = budget
        self._part = part
        self._shown = Shown(part.hides)
        self._before, self._after = before, after
        self._counted = counted
        # While there is time.
        self._estimated = [
            _estimated(budget, side, found.rows)
            for side, found in zip((before, after), counted, strict=True)
        ]
        self._pairs = [
            Pair(name, before.columns[name], column)
            for name, column in after.columns.items()
            if name in before.columns
        ]

    def comparison(self) -> Comparison:
        found = Comparison(
            self._part.node,
            self._part.name,
            rows_before=self._counted[0].rows,
            rows_after=self._counted[1].rows,
        )
        if not self._pairs:
            unknown = "they have no column in common"
            return self._with_columns(replace(found, unknown=unknown), None, Examples())
        try:
            if self._part.key:
                return self._by_key(found)
        except NoKey as error:
            found = replace(found, notes=(f"{error}, so whole rows were compared.",))
        except NotCompared as error:
            found = replace(found, unknown=str(error))
            return self._with_columns(found, None, Examples())
        try:
            return self._whole_rows(found)
        except NotCompared as error:
            found = replace(found, unknown=str(error))
            return self._with_columns(found, None, Examples())

    def _by_key(self, found: Comparison) -> Comparison:
        key = self._part.key
        method = ByKey(self._budget, self._before, self._after, self._pairs, key, self._shown)
        return self._outcome(replace(found, key=key), method, "key")

    def _whole_rows(self, found: Comparison) -> Comparison:
        method = WholeRows(self._budget, self._before, self._after, self._pairs, self._shown)
        return self._outcome(found, method, "row")

    def _outcome(self, found: Comparison, method: ByKey | WholeRows, what: str) -> Comparison:
        rows = max(found.rows_before, found.rows_after)
        outcome, bits = self._budget.largest(method.outcome, rows)
        examples = Examples()
        if not outcome.is_equal:
            try:
                examples = method.examples(outcome, bits)
            except NotCompared as error:
                found = replace(found, notes=(*found.notes, f"Examples are missing: {error}."))
        found = replace(
            found,
            sampled=f"1 in {2**bits:,} {what}s, by a hash of the {what}" if bits else "",
            only_before=outcome.only_before,
            only_after=outcome.only_after,
            changed=outcome.changed,
            only_before_rows=examples.only_before,
            only_after_rows=examples.only_after,
        )
        return self._with_columns(found, outcome, examples)

    def _with_columns(
        self, found: Comparison, outcome: Outcome | None, examples: Examples
    ) -> Comparison:
        columns = tuple(self._columns(outcome, examples))
        known = outcome is not None and (outcome.changed is not None or outcome.is_equal)
        differ = sum(bool(column.before and column.after) for column in columns)
        return replace(
            found, columns=columns, equal_columns=len(self._pairs) - differ if known else 0
        )

    def _columns(self, outcome: Outcome | None, examples: Examples) -> Iterator[ColumnComparison]:
        """Those that differ in any way: as the new relation has them, then those that go."""
        paired = outcome.by_column if outcome and outcome.changed is not None else None
        for name in dict.fromkeys((*self._after.columns, *self._before.columns)):
            before, after = self._before.columns.get(name), self._after.columns.get(name)
            both = before is not None and after is not None
            # A part of the key is not counted: it is equal where there is a pair.
            changed = paired.get(name, 0) if both and paired is not None else None
            nulls = [counted.nulls.get(name) for counted in self._counted]
            if both and before == after and not changed and nulls[0] == nulls[1]:
                continue
            known = [found.get(name, Estimated()) for found in self._estimated]
            common = self._common(name, known[0].common, known[1].common)
            yield ColumnComparison(
                name,
                before.type if before else "",
                after.type if after else "",
                changed_rows=changed,
                nulls_before=nulls[0],
                nulls_after=nulls[1],
                distinct_before=known[0].distinct,
                distinct_after=known[1].distinct,
                examples=examples.by_column.get(name, ()) if both else tuple(common),
            )

    def _common(
        self, column: str, before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...]
    ) -> Iterator[Example]:
        """The most common values of a column that one side has, as examples."""
        yield from ((share, self._shown.value(column, value), None) for share, value in before)
        yield from ((share, None, self._shown.value(column, value)) for share, value in after)
