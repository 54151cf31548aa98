"""What a refresh would do to one relation, as far as can be told without building anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mage_dbt.model.refresh import Preview, Refusal
from mage_dbt.warehouse.refresh import Part
from mage_dbt.warehouse.refresh.postgres import columns, dependents, properties
from mage_dbt.warehouse.refresh.postgres.refusals import IN_PLACE, offered, refusals
from mage_dbt.warehouse.refresh.postgres.relation import TABLE, VIEW, Properties
from mage_dbt.warehouse.session import Session

SIZES = """
select nullif(class.reltuples, -1)::bigint as rows,
    case when class.relkind = 'r' then pg_catalog.pg_table_size(class.oid) end as bytes,
    case when class.relkind = 'r' then pg_catalog.pg_indexes_size(class.oid) end as index_bytes
from pg_catalog.pg_class as class
where class.oid = %(oid)s
"""

# The same path may exist on two machines, so both ends of the connection must be one.
FOLDER = """
select coalesce(
    nullif(pg_catalog.pg_tablespace_location(coalesce(
        nullif((select reltablespace from pg_catalog.pg_class where oid = %(oid)s), 0),
        dattablespace
    )), ''),
    case when pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
        then pg_catalog.current_setting('data_directory', true) end
) as path
from pg_catalog.pg_database
where datname = pg_catalog.current_database()
    and pg_catalog.inet_server_addr() is not distinct from pg_catalog.inet_client_addr()
"""

TEMPORARY = """
select pg_catalog.count(distinct class.oid)::int as number
from pg_catalog.pg_depend as depends
join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid
join pg_catalog.pg_class as class on class.oid = rule.ev_class
where depends.classid = 'pg_catalog.pg_rewrite'::regclass
    and depends.refclassid = 'pg_catalog.pg_class'::regclass and depends.refobjid = %(oid)s
    and class.relpersistence = 't'
"""

ROWS_GONE = (
    "Rows whose source is gone are not in the new table. The check of rows stops the swap when "
    "too few come back (REFRESH_ROWS_PERCENT)."
)


def preview(
    session: Session, part: Part, query: str, parts: Sequence[int] = (), undo: bool = False
) -> Preview:
    """What would happen to this part. `query` is its compiled query; empty where there is none.

    `parts` are the OIDs of all live relations that are swapped together. The swap is not rehearsed.
    An undo builds nothing, so it is told nothing of the model and of a refresh in place.
    """
    label = session.rows(
        "select pg_catalog.format('%%I.%%I', %s::text, %s::text) as label",
        (part.live.schema, part.live.name),
    )[0]["label"]
    live = properties.read(session, part.live)
    found, unknown = _columns(session, query)
    if live is None:
        return Preview(
            part.node,
            part.name,
            label,
            exists=False,
            columns=columns.changes([], found),
            columns_unknown=unknown,
            free_bytes=free_bytes(session, 0),
            refusals=offered(refusals(session, part.live, parts), undo),
        )
    sizes = session.rows(SIZES, {"oid": live.oid})[0]
    depends = dependents.all_of(session, live.oid)
    before = [(column.name, column.type) for column in live.columns]
    return Preview(
        part.node,
        part.name,
        label,
        columns=() if unknown else columns.changes(before, found),
        columns_unknown=unknown,
        rows=sizes["rows"] if live.kind == TABLE else None,
        bytes=sizes["bytes"],
        index_bytes=sizes["index_bytes"],
        free_bytes=free_bytes(session, live.oid),
        dependents=tuple(depends),
        carried=properties.phrases(live),
        refusals=offered(
            (
                *refusals(session, part.live, parts),
                *(() if unknown else _lost_columns(live, found, parts, undo)),
            ),
            undo,
        ),
        notes=(*_notes(session, live, part, undo),),
    )


def _columns(session: Session, query: str) -> tuple[list[tuple[str, str]], str]:
    if not query.strip():
        return [], "There is no compiled query."
    try:
        return columns.of_query(session, query), ""
    except columns.CannotTell as error:
        return [], str(error)


def _lost_columns(
    live: Properties, found: Sequence[tuple[str, str]], parts: Sequence[int], undo: bool
) -> Iterator[Refusal]:
    """The views that use a column which goes away. A generated column is made again."""
    gone = live.column_names - {name for name, _ in found}
    gone -= {column.name for column in live.columns if column.generated}
    for view in live.views:
        used = [name for name in view.columns_of(live.oid) if name in gone]
        if used and view.oid not in parts:
            uses = f"The view {view.name.shown} uses {', '.join(used)}"
            if undo:
                yield Refusal(f"{uses}, which the former relation lacks.", "Change the view first.")
                continue
            yield Refusal(
                f"{uses}, which the model no longer has.",
                f"Keep what it uses in the model, or change the view first. {IN_PLACE}",
            )


def _notes(session: Session, live: Properties, part: Part, undo: bool) -> Iterator[str]:
    if live.kind == TABLE and not part.is_view and not undo:
        yield ROWS_GONE
    if (live.kind == VIEW) != part.is_view:
        was, becomes = ("view", "table") if not part.is_view else ("table", "view")
        yield f"The {was} becomes a {becomes}."
    number = session.rows(TEMPORARY, {"oid": live.oid})[0]["number"]
    if number:
        yield (
            f"{number} temporary view{'s' if number > 1 else ''} of open sessions will go on "
            "reading the former rows."
        )


def free_bytes(session: Session, oid: int) -> int | None:
    """Free disk where the relation's rows are; None where another machine or role has them."""
    rows = session.rows(FOLDER, {"oid": oid})
    path = Path(rows[0]["path"]) if rows and rows[0]["path"] else None
    try:
        return shutil.disk_usage(path).free if path is not None and path.is_dir() else None
    except OSError:  # the folder is another user's
        return None
