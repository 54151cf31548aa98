"""The checks of new rows that need no comparison: how many they are, and whether the key is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from mage_dbt.model.refresh import Check, CheckName, RefreshOptions
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.refresh.postgres import sides
from mage_dbt.warehouse.session import Session

MOST_EXAMPLES = 3

NULLS = """
select count(*) as rows, count(*) filter (where {any_null}) as without from {relation}
"""

DUPLICATES = """
select shown, times, count(*) over () as values
from (
    select pg_catalog.concat_ws(', ', {shown}) as shown, count(*) as times from {relation}
    where not ({any_null}) group by {keys} having count(*) > 1
) as found
order by times desc, shown
limit {most}
"""

NO_KEY = "The model has no unique_key, so there is nothing to check."


def rows(session: Session, part: Part, rows_before: int, options: RefreshOptions) -> Check:
    """Whether the number of new rows is near enough to `rows_before`."""
    [found] = session.rows(f"select count(*) as rows from {sides.in_sql(part.incoming)}")
    after = int(found["rows"])
    fewest, most = options.rows_percent
    passed = not rows_before or fewest * rows_before <= 100 * after <= most * rows_before
    text = _rows_text(rows_before, after, passed)
    if not passed:
        text = f"{text}; allowed are {fewest} to {most} %"
    return _check(CheckName.ROWS, passed, f"{text}.", part, options)


def _rows_text(before: int, after: int, passed: bool) -> str:
    if not before:
        return f"{_rows(after)}; there were none before"
    numbers = f"{after:,} instead of {before:,}"
    if passed:
        return f"{_rows(after)} instead of {before:,} ({100 * after / before:.0f} %)"
    if not after:
        return f"All rows would be gone: {numbers}"
    if after < before:
        return f"{_percent(1 - after / before)} of the rows would be gone: {numbers}"
    if after < 1.1 * before:
        return f"There would be {_rows(after - before)} more: {numbers}"
    return f"There would be {after / before:,.1f} times as many rows: {numbers}"


def key(session: Session, part: Part, options: RefreshOptions) -> Check:
    """Whether `unique_key` is unique and not null in the new rows."""
    passed, text = _key(session, part) if part.key else (True, NO_KEY)
    return _check(CheckName.KEY, passed, text, part, options)


def _key(session: Session, part: Part) -> tuple[bool, str]:
    name = sides.named(part.key)
    many = len(part.key) > 1
    try:
        faults, count = _faults(session, part)
    except psycopg2.Error as error:  # an expression may also fail in some row
        if not sides.is_about_statement(error):
            raise
        return False, f"Whether {name} is a key cannot be checked: {sides.reason(error)}."
    if faults:
        return False, f"{name} {'are' if many else 'is'} no key: {' and '.join(faults)}."
    return True, f"{name} {'are together' if many else 'is'} unique and not null in {_rows(count)}."


def _faults(session: Session, part: Part) -> tuple[list[str], int]:
    """Phrases on what is wrong with the key, and the number of rows."""
    side = sides.read(session, part.incoming)
    if side is None:
        return ["there are no new rows"], 0
    items = sides.items(session, side, part.key)
    null = " or ".join(item.null for item in items)
    [found] = session.rows(NULLS.format(any_null=null, relation=side.name))
    repeated = session.rows(
        DUPLICATES.format(
            shown=", ".join(f"min({item.column.shown(item.sql)})" for item in items),
            relation=side.name,
            any_null=null,
            keys=", ".join(item.column.grouped(item.sql) for item in items),
            most=MOST_EXAMPLES,
        )
    )
    faults = []
    if without := found["without"]:
        faults.append(f"{_rows(without)} {'has' if without == 1 else 'have'} none")
    if repeated:
        values = repeated[0]["values"]
        examples = _examples(repeated, items, sides.Shown(part.hides))
        appear = "value appears" if values == 1 else "values appear"
        faults.append(f"{values:,} {appear} more than once, such as {examples}")
    return faults, found["rows"]


def _examples(
    repeated: Sequence[Mapping[str, Any]], items: Sequence[sides.Item], shown: sides.Shown
) -> str:
    examples = []
    for row in repeated:
        value = shown.key(items, row["shown"])
        value = f"({value})" if len(items) > 1 else value
        examples.append(f"{value} ({row['times']:,} times)")
    return ", ".join(examples)


def _check(name: CheckName, passed: bool, text: str, part: Part, options: RefreshOptions) -> Check:
    overridden = not passed and name in options.override
    return Check(name, passed, text, part.node, overridden)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "Less than 1 %"
