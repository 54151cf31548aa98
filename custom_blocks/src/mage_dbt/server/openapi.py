"""The OpenAPI document: FastAPI's, with what every call has in common."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mage_dbt.errors import (
    Forbidden,
    Malformed,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    WorkspaceError,
)
from mage_dbt.model.problems import declared
from mage_dbt.server.schemas import Problem

DESCRIPTION = (
    "Runs of dbt-metric: ask for one, follow it, read what became of it. Errors are problem "
    "details (RFC 9457) whose `type` is stable. Answers may gain fields."
)

TOKEN = "token"

EVERYWHERE = (Malformed, Forbidden, TooLarge, TooManyRequests)
"""The problems of any call over TCP; all but /ping have Unauthorized too."""


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made at the first call."""
    if app.openapi_schema is None:
        app.openapi_schema = _make(app)
    return app.openapi_schema


def _make(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    made["components"]["securitySchemes"] = {TOKEN: {"type": "http", "scheme": "bearer"}}
    for path, methods in made["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["schema"] = _without_null(content["schema"])
            is_open = path == "/ping"
            operation["security"] = [] if is_open else [{TOKEN: []}]
            kinds: tuple[type[WorkspaceError], ...] = (
                EVERYWHERE if is_open else (Unauthorized, *EVERYWHERE)
            )
            for status, response in declared(kinds).items():
                operation["responses"].setdefault(str(status), response)
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without null: an optional parameter or body is left out, not null."""
    choices = schema.get("anyOf", ())
    others = [choice for choice in choices if choice != {"type": "null"}]
    if len(others) != 1 or len(choices) != 2:
        return schema
    return {name: value for name, value in schema.items() if name != "anyOf"} | others[0]
