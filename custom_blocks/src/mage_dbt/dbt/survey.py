"""What the warehouse holds, beside what the models of a commit say; nothing is run or changed.

For each incremental model: how the columns of its query differ from those of its table. And the
former relations that refreshes have kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import get_adapter
from dbt_common.exceptions import DbtBaseException

from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.nodes import materialized_as, name_of
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.queries import (
    NoQuery,
    compiled_queries,
    query_of_columns,
    with_upstream,
    within_a_command,
)
from mage_dbt.model import codec
from mage_dbt.model.reason import first_line
from mage_dbt.model.survey import ColumnsChanged

if TYPE_CHECKING:
    from mage_dbt.warehouse.session import Session

MOST_NAMED = 5
"""Models that are named when they could not be compared; further ones are counted."""

BY_DEFAULT = "ignore"
"""dbt's `on_schema_change` where a model says nothing (`incremental_validate_on_schema_change`)."""


def survey(project: Project, arguments: list[str]) -> dict[str, Any]:
    """Plain data: `changed`, `kept` and `unknown`, as `Survey` in `model/survey.py` has them.

    `arguments` are dbt's flags for any command. The server must be PostgreSQL.
    """
    found: dict[str, Any] = {"changed": [], "kept": []}
    problem = within_a_command(project, arguments, lambda: found.update(_look(project)))
    return {"unknown": problem, **found}


def _look(project: Project) -> dict[str, Any]:
    # Imported here: another adapter may come without the driver.
    import psycopg2

    from mage_dbt.dbt.connection import open_connection
    from mage_dbt.warehouse.refresh.postgres.refresher import PostgresRefresher
    from mage_dbt.warehouse.session import Session

    models = {
        node.unique_id: node
        for node in project.manifest.nodes.values()
        if str(node.resource_type) == "model" and materialized_as(node) == "incremental"
    }
    queries, problems = compiled_queries(project, [], models)
    try:
        with closing(open_connection(project.config.credentials)) as connection:
            kept = PostgresRefresher(connection).kept()
            session = Session(connection)
            changed = [*_changed(project, session, models, queries, problems)]
    except (psycopg2.Error, DbtBaseException) as error:
        return {"unknown": f"The warehouse does not tell: {scrub(str(error).strip())}"}
    names = {name_of(models[node]): first_line(why) for node, why in problems.items()}
    return {
        "changed": [codec.plain(model) for model in changed],
        "kept": [codec.plain(version) for version in kept],
        "unknown": _not_compared(names),
    }


def _changed(
    project: Project,
    session: Session,
    models: Mapping[str, Any],
    queries: Mapping[str, str],
    problems: dict[str, str],
) -> Iterator[ColumnsChanged]:
    """The models whose tables have other columns. What cannot be told goes into `problems`."""
    from mage_dbt.warehouse.postgres import Postgres
    from mage_dbt.warehouse.refresh.postgres.columns import CannotTell, changes, of_table

    for unique_id, query in queries.items():
        node = models[unique_id]
        name = Postgres.folding.name(node.relation_name)
        if not (there := of_table(session, name)):
            continue
        try:
            columns = changes(there, _columns(project, session, node, query))
        except CannotTell as error:
            problems[unique_id] = scrub(str(error))
            continue
        if columns:
            yield ColumnsChanged(
                node=unique_id,
                name=name_of(node),
                relation=f"{name.schema}.{name.name}",
                on_schema_change=str(node.config.on_schema_change or BY_DEFAULT),
                columns=columns,
                refreshable=node.config.full_refresh is not False,
            )


def _columns(project: Project, session: Session, node: Any, query: str) -> list[tuple[str, str]]:
    """The columns of the node's new table. Raises CannotTell.

    When what it reads was changed too and is not built yet, its query may not fit what stands.
    """
    from mage_dbt.warehouse.refresh.postgres.columns import CannotTell, of_queries, of_query

    try:
        return of_query(session, query_of_columns(get_adapter(project.config), node, query))
    except CannotTell as error:
        try:
            return of_queries(session, *with_upstream(project, node.unique_id))
        except (CannotTell, NoQuery):
            raise error from None


def _not_compared(problems: Mapping[str, str]) -> str:
    """A sentence on the models whose columns could not be told; empty without one."""
    if not problems:
        return ""
    shown = [f"{name} ({why.rstrip('.')})" for name, why in sorted(problems.items())]
    more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
    return f"Not compared with their tables: {', '.join(shown[:MOST_NAMED])}{more}."
