"""The page's addresses: how they are asked for, and where links may lead."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route

from mage_dbt.identity.role import Role
from mage_dbt.server import caller
from mage_dbt.server.caller import Caller, Listener
from mage_dbt.server.pages.routes import is_page
from tests.unit.openapi import app_without_runner


def call(listener: Listener = Listener.PEOPLE) -> Request:
    who = Caller(listener, Role.ANALYST, "ana")
    scope: dict[str, Any] = {"type": "http", "headers": [], caller.KEY: who}
    return Request(scope)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return app_without_runner()


def test_every_page_answers_head_where_it_answers_get(app: FastAPI) -> None:
    routes = [route for route in app.state.routes if isinstance(route, Route)]
    # A live part has no end, so nothing but its stream can be asked for.
    pages = [
        route for route in routes if is_page(route.path) and not route.path.startswith("/live/")
    ]
    assert len(pages) > 15
    without = [
        route.path
        for route in pages
        if route.methods and "GET" in route.methods and "HEAD" not in route.methods
    ]
    assert without == []


@pytest.mark.parametrize(
    "path",
    [
        "/models/../../oauth2/sign_out",
        "/runs/..",
        "/../v1/status",
        "/runs/./x",
        "/models/a/../../b",
    ],
)
def test_an_address_never_leads_up_and_out(app: FastAPI, path: str) -> None:
    site = app.state.site
    assert site.address(call(), path) == "/runner/"
    assert site.address(call(), path, run="x") == "/runner/?run=x"


def test_names_with_dots_have_their_address(app: FastAPI) -> None:
    site = app.state.site
    assert site.address(call(), "/models/model.shop..b") == "/runner/models/model.shop..b"
    assert site.address(call(), "/models/%2e%2e/x") == "/runner/models/%252e%252e/x"
