"""Two ways to compare rows of two relations: pairs with the same key, or whole rows.

Both give counts for a sample, then examples of what the counts say. A sample is taken by a hash
that is the same on both sides: of the rows whose hash ends in `bits` zero bits all are compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mage_dbt.warehouse.names import quoted
from mage_dbt.warehouse.refresh.postgres import sides
from mage_dbt.warehouse.refresh.postgres.budget import Budget, NotCompared, OutOfTime
from mage_dbt.warehouse.refresh.postgres.sides import Column, Item, Shown, Side

MOST_EXAMPLES = 10

COLLECTED = 20
"""Examples that the server collects on average where there are more of them, so that its memory is
bounded. The first ten by key are kept."""

NULL_KEY = "select count(*) as rows from {relation} where {null}"

REPEATED = """
select min(key) as key from (select {columns} from {relation}) as found
where {sampled} group by {keys} having count(*) > 1 limit 1
"""

BY_KEY = """
select {wanted} from (
    select b.k0 is null as is_added, a.k0 is null as is_removed,
        coalesce(b.key, a.key) as key{passed}
    from (select * from (select {before} from {live}) as found where {sampled}) as b
    full join (select * from (select {after} from {incoming}) as found where {sampled}) as a
        on {same_key}
    offset 0
) as pair
"""
"""A key is not null, so it is null where a side has no row. Without `offset 0` the planner would
have each difference computed wherever it is asked for."""

HASHED = """
select {columns} from (
    select found.*, pg_catalog.hashtextextended(whole, 1) as hash,
        pg_catalog.hashtextextended(whole, 2) as other
    from (
        select {selected}row({texts})::text collate "C" as whole from {relation} offset 0
    ) as found
    offset 0
) as hashed where {condition}
"""
"""Two hashes of 64 bits stand for a row: those of two different rows are the same once in 2^128."""

WHOLE = """
select {wanted} from (
    select hash, other, sum(present) as before, count(*) - sum(present) as after
    from ({live} union all {incoming}) as found
    group by hash, other having 2 * sum(present) <> count(*)
) as different
"""

Example = tuple[str, str | None, str | None]

Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Pair:
    """A column that both sides have."""

    name: str
    before: Column
    after: Column


@dataclass(frozen=True)
class Outcome:
    """Counts of the rows that were compared."""

    only_before: int
    only_after: int
    changed: int | None = None
    """None where whole rows were compared."""
    by_column: Mapping[str, int] = field(default_factory=dict)
    """Changed rows of each column that both have."""

    @property
    def is_equal(self) -> bool:
        return not (self.only_before or self.only_after or self.changed)


@dataclass(frozen=True)
class Examples:
    """Texts of some rows that differ."""

    only_before: tuple[Row, ...] = ()
    only_after: tuple[Row, ...] = ()
    by_column: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)


class NoKey(Exception):
    """Rows cannot be paired by the key; the text says why."""


class ByKey:
    """Rows with the same key are pairs."""

    def __init__(
        self,
        budget: Budget,
        before: Side,
        after: Side,
        pairs: Sequence[Pair],
        key: Sequence[str],
        shown: Shown,
    ) -> None:
        """Raises NoKey."""
        self._budget = budget
        self._shown = shown
        self._name = sides.named(key)
        self._before, self._after = before, after
        self._items = (self._items_of(before, key, "present"), self._items_of(after, key, "new"))
        in_key = {item.column.name for items in self._items for item in items}
        self._pairs = [pair for pair in pairs if pair.name not in in_key]

    def _items_of(self, side: Side, key: Sequence[str], rows: str) -> tuple[Item, ...]:
        session = self._budget.session
        try:
            items = self._budget.bounded(lambda: sides.items(session, side, key))
            null = " or ".join(item.null for item in items)
            [found] = self._budget.rows(NULL_KEY.format(relation=side.name, null=null))
        except OutOfTime:
            raise
        except NotCompared as error:
            raise NoKey(f"{self._name} is no key of the {rows} rows ({error})") from error
        if count := found["rows"]:
            raise NoKey(f"{self._name} is null in {count:,} of the {rows} rows")
        return items

    def outcome(self, bits: int) -> Outcome:
        """Raises NoKey."""
        self._refuse_repeated(self._before, 0, bits, "present")
        self._refuse_repeated(self._after, 1, bits, "new")
        differs = [f"d{at}" for at in range(len(self._pairs))]
        wanted = [
            "count(*) filter (where is_removed) as only_before",
            "count(*) filter (where is_added) as only_after",
            f"count(*) filter (where {' or '.join(differs) or 'false'}) as changed",
            *(f"count(*) filter (where {name}) as {name}" for name in differs),
        ]
        [row] = self._budget.rows(self._joined(wanted, (), bits))
        return Outcome(
            row["only_before"],
            row["only_after"],
            row["changed"],
            {pair.name: row[name] for pair, name in zip(self._pairs, differs, strict=True)},
        )

    def examples(self, outcome: Outcome, bits: int) -> Examples:
        wanted, passed = [], []
        for at, (side, alias) in enumerate(((self._before, "b"), (self._after, "a"))):
            passed += [f"{alias}.c{place} as {alias}{place}" for place in range(len(side.columns))]
            count = (outcome.only_before, outcome.only_after)[at]
            shown = [
                column.shown(f"{alias}{place}")
                for place, column in enumerate(side.columns.values())
            ]
            wanted.append(_collected(shown, ("is_removed", "is_added")[at], count, f"only{at}"))
        for at, pair in enumerate(self._pairs):
            shown = [
                pair.before.shown(f"b{_place(self._before, pair)}"),
                pair.after.shown(f"a{_place(self._after, pair)}"),
            ]
            wanted.append(_collected(shown, f"d{at}", outcome.by_column[pair.name], f"e{at}"))
        [row] = self._budget.rows(self._joined(wanted, passed, bits))
        only = [
            tuple(self._shown.row(side.columns, values) for _, *values in _first(row[f"only{at}"]))
            for at, side in enumerate((self._before, self._after))
        ]
        by_column = {
            pair.name: tuple(self._example(pair.name, found) for found in _first(row[f"e{at}"]))
            for at, pair in enumerate(self._pairs)
        }
        return Examples(only[0], only[1], by_column)

    def _example(self, column: str, found: Sequence[str | None]) -> Example:
        key, *values = found
        before, after = (self._shown.value(column, value) for value in values)
        return self._shown.key(self._items[0], key), before, after

    def _refuse_repeated(self, side: Side, at: int, bits: int, rows: str) -> None:
        keys = ", ".join(f"k{place}" for place in range(len(self._items[at])))
        found = self._budget.rows(
            REPEATED.format(
                columns=self._selected(side, at),
                relation=side.name,
                sampled=_sampled(bits),
                keys=keys,
            )
        )
        if found:
            value = self._shown.key(self._items[0], found[0]["key"])
            raise NoKey(f"{self._name} is not unique in the {rows} rows ({value})")

    def _joined(self, wanted: Sequence[str], passed: Sequence[str], bits: int) -> str:
        differs = []
        for at, pair in enumerate(self._pairs):
            like = sides.alike(pair.before, pair.after)
            before, after = f"b.c{_place(self._before, pair)}", f"a.c{_place(self._after, pair)}"
            differs.append(
                "b.k0 is not null and a.k0 is not null "
                f"and {like(before)} is distinct from {like(after)} as d{at}"
            )
        return BY_KEY.format(
            wanted=", ".join(wanted),
            passed="".join(f", {text}" for text in (*differs, *passed)),
            before=self._selected(self._before, 0),
            after=self._selected(self._after, 1),
            live=self._before.name,
            incoming=self._after.name,
            same_key=" and ".join(f"b.k{at} = a.k{at}" for at in range(len(self._items[0]))),
            sampled=_sampled(bits),
        )

    def _selected(self, side: Side, at: int) -> str:
        """The columns of a side by their places, its key in parts and as a text, and its hash.

        The planner leaves out what nobody asks for.
        """
        both = list(zip(*self._items, strict=True))
        parts = [
            f"{sides.alike(pair[0].column, pair[1].column)(pair[at].sql)} as k{place}"
            for place, pair in enumerate(both)
        ]
        texts = ", ".join(
            sides.texts(pair[0].column, pair[1].column)(pair[at].sql) for pair in both
        )
        shown = ", ".join(pair[at].column.shown(pair[at].sql) for pair in both)
        columns = [f"{quoted(name)} as c{place}" for place, name in enumerate(side.columns)]
        return ", ".join(
            [
                *columns,
                *parts,
                f"pg_catalog.concat_ws(', ', {shown}) as key",
                f"pg_catalog.hashtextextended(pg_catalog.concat_ws(e'\\x1f', {texts}), 1) as hash",
            ]
        )


class WholeRows:
    """Rows count as often as they are there (as `except all` has it)."""

    def __init__(
        self, budget: Budget, before: Side, after: Side, pairs: Sequence[Pair], shown: Shown
    ) -> None:
        self._budget = budget
        self._shown = shown
        self._before, self._after = before, after
        self._pairs = pairs

    def outcome(self, bits: int) -> Outcome:
        wanted = (
            "coalesce(sum(greatest(before - after, 0)), 0)::bigint as only_before, "
            "coalesce(sum(greatest(after - before, 0)), 0)::bigint as only_after"
        )
        [row] = self._budget.rows(self._different(wanted, bits))
        return Outcome(row["only_before"], row["only_after"])

    def examples(self, outcome: Outcome, bits: int) -> Examples:
        wanted = [
            "json_agg(array[hash, other]) filter "
            f"(where {more} > {less} and {_few('other', count)}) as {more}"
            for more, less, count in (
                ("before", "after", outcome.only_before),
                ("after", "before", outcome.only_after),
            )
        ]
        [row] = self._budget.rows(self._different(", ".join(wanted), bits))
        return Examples(
            self._rows(self._before, row["before"]), self._rows(self._after, row["after"])
        )

    def _rows(self, side: Side, hashes: Sequence[Sequence[int]] | None) -> tuple[Row, ...]:
        if not hashes:
            return ()
        shown = ", ".join(
            column.shown(f"c{place}") for place, column in enumerate(side.columns.values())
        )
        few = ", ".join(f"({first}, {second})" for first, second in hashes[:MOST_EXAMPLES])
        found = self._budget.rows(
            self._hashed(
                side,
                f"distinct on (hash, other) array[{shown}]::text[] as shown",
                f"(hash, other) in ({few})",
                "".join(f"{quoted(name)} as c{at}, " for at, name in enumerate(side.columns)),
            )
        )
        return tuple(self._shown.row(side.columns, row["shown"]) for row in found)

    def _different(self, wanted: str, bits: int) -> str:
        sampled = _sampled(bits)
        return WHOLE.format(
            wanted=wanted,
            live=self._hashed(self._before, "1 as present, hash, other", sampled),
            incoming=self._hashed(self._after, "0 as present, hash, other", sampled),
        )

    def _hashed(self, side: Side, columns: str, condition: str, selected: str = "") -> str:
        texts = (sides.texts(pair.before, pair.after)(quoted(pair.name)) for pair in self._pairs)
        return HASHED.format(
            columns=columns,
            selected=selected,
            texts=", ".join(texts),
            relation=side.name,
            condition=condition,
        )


def _place(side: Side, pair: Pair) -> int:
    return list(side.columns).index(pair.name)


def _sampled(bits: int) -> str:
    return f"hash & {2**bits - 1} = 0" if bits else "true"


def _few(hashed: str, count: int) -> str:
    """SQL that is true for about COLLECTED of `count` rows, by a hash of each."""
    bits = math.floor(math.log2(max(1, count / COLLECTED)))
    return f"{hashed} & {2**bits - 1} = 0" if bits else "true"


def _collected(shown: Sequence[str], condition: str, count: int, name: str) -> str:
    """SQL that collects the key and these texts of some of the `count` rows with `condition`."""
    few = _few('pg_catalog.hashtextextended(key collate "C", 3)', count)
    texts = ", ".join(["key", *shown])
    return f"json_agg(array[{texts}]::text[]) filter (where {condition} and {few}) as {name}"


def _first(found: Sequence[Sequence[str | None]] | None) -> list[Sequence[str | None]]:
    """The first examples, by key."""
    return sorted(found or (), key=lambda texts: _natural(texts[0] or ""))[:MOST_EXAMPLES]


def _natural(text: str) -> list[tuple[int, str]]:
    """For sorting: 9 comes before 10."""
    parts = re.split("([0-9]+)", text)
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)]
