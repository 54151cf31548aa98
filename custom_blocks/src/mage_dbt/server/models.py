"""The models of the live commit: all of them for a picker, and one with its past."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Annotated
from unicodedata import normalize

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from mage_dbt.errors import LedgerUnreachable, NoCommitReady, NotFound, RequestError
from mage_dbt.ledger.listing import LONGEST_FILTER
from mage_dbt.model.commit import Model
from mage_dbt.model.problems import declared
from mage_dbt.model.shown_model import ShownModel
from mage_dbt.runner.catalogue import Catalogue
from mage_dbt.runner.service import Runner
from mage_dbt.server import schemas
from mage_dbt.server.strict_route import StrictRoute

ALIKE = 0.75
"""How near a misspelt name must be; 1 is the same."""


def routes(runner: Runner, catalogue: Catalogue) -> APIRouter:
    """The endpoints that list models and show one."""
    router = APIRouter(tags=["workspace"], route_class=StrictRoute)

    @router.get(
        "/v1/models",
        operation_id="list_models",
        response_class=JSONResponse,
        responses={
            200: {"model": schemas.Models},
            **declared((RequestError, NoCommitReady)),
        },
    )
    def models(
        text: Annotated[
            str,
            Query(alias="search", max_length=200, description="Words of a name or description."),
        ] = "",
        limit: Annotated[int, Query(ge=1, le=10_000, description="How many at most.")] = 100,
    ) -> JSONResponse:
        """Models, seeds and snapshots of the live commit, the best match first."""
        found = search(runner.models(), text)
        return JSONResponse(
            {"models": [vars(model) for model in found[:limit]], "total": len(found)}
        )

    @router.get(
        "/v1/models/{node}",
        operation_id="show_model",
        response_class=JSONResponse,
        responses={
            200: {"model": ShownModel},
            **declared((RequestError, NotFound, NoCommitReady, LedgerUnreachable)),
        },
    )
    def show_model(
        node: Annotated[
            str,
            InPath(
                description="The name of a model, seed or snapshot, or a node's unique id.",
                max_length=LONGEST_FILTER,
                examples=["fct_orders"],
            ),
        ],
    ) -> JSONResponse:
        """One node of the live commit: its results, tests, columns, neighbours and source."""
        return JSONResponse(catalogue.show(catalogue.only(node)).to_json())

    return router


def search(models: Iterable[Model], text: str) -> list[Model]:
    """The models that match, the best first; all of them by name when `text` is empty.

    Every word must be in the name or the description, in any case; a name that is only nearly the
    one typed comes last.
    """
    words = _letters(text).split()
    # It keeps what it knows of its second text, so that is the one which stays.
    near = SequenceMatcher(None, "", "_".join(words), autojunk=False)
    ranked = [(_rank(model, words, near), model.name, model) for model in models]
    matches = [entry for entry in ranked if entry[0] is not None]
    return [model for _, _, model in sorted(matches, key=lambda entry: entry[:2])]


def _letters(text: str) -> str:
    """Lower case, and in one Unicode form: macOS composes letters otherwise."""
    return normalize("NFC", text).lower()


def _rank(model: Model, words: list[str], near: SequenceMatcher[str]) -> int | None:
    """The smaller the better; None for no match."""
    name, description = _letters(model.name), _letters(model.description)
    if not words:
        return 0
    wanted = "_".join(words)
    if name == wanted:
        return 0
    if name.startswith(wanted):
        return 1
    if all(word in name for word in words):
        return 2
    if all(word in name or word in description for word in words):
        return 3
    near.set_seq1(name)
    # The first two are upper bounds of the third, and far quicker.
    bounds = (near.real_quick_ratio, near.quick_ratio, near.ratio)
    return 4 if all(bound() >= ALIKE for bound in bounds) else None
