"""Problem details (RFC 9457): how an error of ours looks on the wire, and back again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mage_dbt import errors
from mage_dbt.errors import (
    KeyReused,
    NoCommitReady,
    QueueFull,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    WorkspaceError,
)

MEDIA_TYPE = "application/problem+json"

PREFIX = "urn:mage-dbt:"

RETRY_SECONDS: Mapping[type[WorkspaceError], int] = {
    QueueFull: 30,
    NoCommitReady: 10,
    Unavailable: 5,
    TooManyRequests: 10,
}
"""When asking again makes sense, the nearest class first."""


def type_of(kind: type[WorkspaceError]) -> str:
    """`urn:mage-dbt:key-reused` for KeyReused; stable, a program may compare it."""
    return PREFIX + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def title_of(kind: type[WorkspaceError]) -> str:
    """The same sentence for every occurrence of a type: the first of the class's docstring."""
    return (kind.__doc__ or kind.__name__).split("\n")[0]


def known() -> list[type[WorkspaceError]]:
    """Every type of problem there is."""
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, WorkspaceError)
    ]


def problem(error: WorkspaceError, instance: str = "") -> dict[str, Any]:
    """The body of the answer that tells of `error`."""
    kind = type(error)
    told: dict[str, Any] = {
        "type": type_of(kind),
        "title": title_of(kind),
        "status": error.status,
        "detail": error.message,
        "hint": error.hint,
    }
    if instance:
        told["instance"] = instance
    if isinstance(error, KeyReused) and error.run:
        told["run"] = error.run
    return told


def headers(error: WorkspaceError, retry_after: int | None = None) -> dict[str, str]:
    """The headers that go with an error's answer. `retry_after` in seconds."""
    found = {}
    if isinstance(error, Unauthorized):
        found["WWW-Authenticate"] = 'Bearer realm="mage-dbt"'
    if isinstance(error, Unavailable | TooManyRequests):
        if retry_after is None:
            retry_after = next(
                seconds for kind, seconds in RETRY_SECONDS.items() if isinstance(error, kind)
            )
        found["Retry-After"] = str(retry_after)
    return found


def read(told: Any, status: int, text: str) -> WorkspaceError:
    """The error that an answer tells of; a WorkspaceError when it is not one of our problems."""
    kinds = {type_of(kind): kind for kind in known()}
    try:
        kind = kinds.get(told["type"], WorkspaceError)
        error = kind(told["detail"], told.get("hint", ""))
        if isinstance(error, KeyReused):
            error.run = told.get("run", "")
        return error
    except (KeyError, TypeError):
        return WorkspaceError(f"The runner answered {status}: {text[:500]}")


def declared(kinds: Iterable[type[WorkspaceError]]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problems that an endpoint may answer with."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        one = found.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        one["description"] = f"{one['description']} {title_of(kind)}".strip()
        one["content"][MEDIA_TYPE]["examples"][kind.__name__] = {
            "summary": title_of(kind),
            "value": problem(_EXAMPLES.get(kind, kind(title_of(kind)))),
        }
        for name in headers(kind("")):
            one.setdefault("headers", {})[name] = {
                "description": "Seconds to wait." if name == "Retry-After" else "What to send.",
                "required": True,
                "schema": {"type": "integer" if name == "Retry-After" else "string"},
            }
    return found


_EXAMPLES: Mapping[type[WorkspaceError], WorkspaceError] = {
    type(one): one
    for one in (
        errors.UnknownOperation("'biuld' is not a known operation.", "Did you mean build?"),
        errors.RequestError("Unknown field 'sellect'.", "Did you mean select?"),
        errors.BadSelection(
            "'fct_orders;' in `select` is not a model name or a dbt selection criterion."
        ),
        errors.BadVariable(
            "'1st' is not a variable's name.",
            "It begins with a letter; digits, _, :, . and - may follow.",
        ),
        errors.BadCommand("The dbt command clean is not allowed.", "Allowed are build, run, …"),
        errors.BadCommit(
            "'v1..v2' is neither a commit's SHA nor a tag's name.",
            "Leave it out for the newest commit.",
        ),
        errors.Malformed("The body is not JSON: line 1, column 14.", "Send one JSON object."),
        errors.Unauthorized(
            "This call needs the bearer token.",
            "It is in WORKSPACE_HOME/secrets/api-token; send `Authorization: Bearer …`.",
        ),
        errors.Forbidden(
            "The call comes from a web page (Origin: https://example.com).",
            "Call from a program; no web page may.",
        ),
        errors.NotFound(
            "No run '20261123-080000-4f2a9c' in the ledger.", "`mage-dbt runs` lists the last ones."
        ),
        errors.Conflict(
            "Run 20261123-080000-4f2a9c is over: Error.", "There is nothing to cancel."
        ),
        errors.NothingLeft(
            "Everything that did not pass in run 20261123-080000-4f2a9c has succeeded since."
        ),
        KeyReused(
            "The idempotency key belongs to run 20261123-080000-4f2a9c, which asked for something "
            'else: `select` was ["fct_orders"] and is now ["dim_customers"].',
            "Take a new key for a new request; repeat a request with its first body.",
            "20261123-080000-4f2a9c",
        ),
        errors.PlanChanged("The plan is no longer the one that was seen.", "Look at it again."),
        errors.TooLarge("The body is larger than 1000000 bytes.", "Name fewer nodes."),
        errors.NotJson(
            "The body is text/plain.", "Send JSON with `Content-Type: application/json`."
        ),
        TooManyRequests("More than 600 calls within a minute.", "Wait, then call less often."),
        errors.LedgerUnreachable("PostgreSQL, which holds the ledger, does not answer."),
        NoCommitReady("No commit of dbt-metric is ready yet.", "`GET /v1/status` says why."),
        QueueFull("100 runs wait already, as many as may.", "Ask again when some are over."),
    )
}
