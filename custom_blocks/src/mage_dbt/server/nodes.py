"""One node of a run: its result, its times and its compiled SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from mage_dbt.base.redaction import scrub
from mage_dbt.errors import LedgerUnreachable, NotFound, RequestError
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.listing import LONGEST_FILTER
from mage_dbt.ledger.run_node import RunNode
from mage_dbt.model.problems import declared
from mage_dbt.server import schemas
from mage_dbt.server.runs import RUNS, RunId
from mage_dbt.server.strict_route import StrictRoute

LONGEST_SQL = 200_000
"""Characters that are shown; more is not read by people."""

MORE = 10_000
"""Read beyond that, so that no secret is cut in two and shown by half."""


def routes(ledger: Ledger, home: Home) -> APIRouter:
    """The endpoint that shows one node."""
    router = APIRouter(prefix=RUNS, tags=["runs"], route_class=StrictRoute)

    @router.get(
        "/{run}/nodes/{node}",
        operation_id="show_node",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.NodeDetail},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def show_node(
        run: RunId,
        node: Annotated[
            str,
            InPath(
                description="A node's name, or its unique id.",
                max_length=LONGEST_FILTER,
                examples=["fct_orders"],
            ),
        ],
    ) -> JSONResponse:
        """One node of a run: what became of it, when, and its compiled SQL."""
        ledger.run(run)
        if "\x00" in node:
            raise NotFound("No node has a NUL character in its name.")
        found = ledger.node(run, node)
        return JSONResponse(shown_node(run, found, home.runs / run))

    return router


def shown_node(run: str, node: RunNode, folder: Path) -> dict[str, Any]:
    """A node as answers have it; `folder` is the run's."""
    sql, note = compiled_sql(folder, node)
    result, planned = node.result, node.planned
    return {
        "run": run,
        "node": node.node,
        "name": node.name,
        "type": node.type,
        "status": node.status,
        "started_at": node.started_at and node.started_at.isoformat(),
        "finished_at": node.finished_at and node.finished_at.isoformat(),
        "seconds": result.seconds if result else None,
        "rows": result.rows if result else None,
        "message": result.message if result else "",
        "because": result.because if result else "",
        "relation": (planned.relation if planned else "") or (result.relation if result else ""),
        "compiled_sql": sql,
        "compiled_sql_note": note,
    }


def compiled_sql(folder: Path, node: RunNode) -> tuple[str | None, str]:
    """The SQL without secrets, or None; and a note why there is none, or that it was cut."""
    if node.type in ("seed", "operation"):
        return None, f"A {node.type} has no compiled SQL of its own."
    if not node.compiled or node.status == "skipped":
        return None, "dbt did not begin with this node, so it was not compiled."
    if not folder.is_dir():
        return None, "The run's folder is gone: only the last runs keep theirs."
    file = (folder / node.compiled).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None, "dbt wrote no compiled SQL for this node."
    with file.open("rb") as opened:
        text = opened.read(LONGEST_SQL + MORE).decode(errors="replace")
    shown = scrub(text)
    if len(shown) <= LONGEST_SQL:
        return shown, ""
    return shown[:LONGEST_SQL], f"Cut: the file has {file.stat().st_size} bytes."
