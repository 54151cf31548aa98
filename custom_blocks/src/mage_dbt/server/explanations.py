"""Why a run failed."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from mage_dbt.errors import LedgerUnreachable, NotFound, RequestError
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.problems import declared
from mage_dbt.runner.service import Runner
from mage_dbt.server.runs import RUNS, RunId
from mage_dbt.server.strict_route import StrictRoute


def routes(runner: Runner) -> APIRouter:
    """The endpoint that explains a run."""
    router = APIRouter(prefix=RUNS, tags=["runs"], route_class=StrictRoute)

    @router.get(
        "/{run}/explanation",
        operation_id="explain_run",
        response_class=JSONResponse,
        responses={
            200: {"model": Explanation},
            **declared((NotFound, RequestError, LedgerUnreachable)),
        },
    )
    def explain_run(run: RunId) -> JSONResponse:
        """Why a run failed: each cause once, what changed since it last passed, what waits for it.
        A run that passed has no causes."""
        return JSONResponse(runner.explain(run).to_json())

    return router
