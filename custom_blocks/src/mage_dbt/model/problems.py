"""Problem details (RFC 9457): the form of an error on the wire, written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from mage_dbt import errors
from mage_dbt.base.tool_command import tool_command
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

LONGEST_INSTANCE = 200
"""Characters of an address."""

PREFIX = "urn:mage-dbt:"

RETRY_SECONDS: Mapping[type[WorkspaceError], int] = {
    QueueFull: 30,
    NoCommitReady: 10,
    Unavailable: 5,
    TooManyRequests: 10,
}
"""Seconds after which a repeated call makes sense, the nearest class first."""

TITLES: Mapping[type[WorkspaceError], str] = {
    errors.WorkspaceError: "Internal error",
    errors.SettingError: "A setting is missing or wrong",
    errors.MachineError: "The machine lacks something",
    errors.AlreadyRunning: "The workspace runs already",
    errors.RequestError: "Invalid request",
    errors.UnknownOperation: "Unknown operation",
    errors.BadSelection: "Invalid selection of models",
    errors.BadVariable: "Invalid variable",
    errors.BadCommand: "Command or flag not allowed",
    errors.BadCommit: "Commit cannot be used",
    errors.Malformed: "Malformed call",
    errors.NotFound: "Not found",
    errors.Conflict: "The current state forbids this",
    errors.NothingLeft: "Nothing left to rerun",
    errors.KeyReused: "Idempotency key used for another request",
    errors.PlanChanged: "The plan has changed since it was previewed",
    errors.Unauthorized: "Authentication required",
    errors.Forbidden: "Not permitted",
    errors.TooLarge: "Body too large",
    errors.WrongMethod: "Method not allowed",
    errors.NotJson: "The body is not JSON",
    errors.TooManyRequests: "Too many calls",
    errors.Unavailable: "Temporarily unavailable",
    errors.NoCommitReady: "No commit is ready to run",
    errors.QueueFull: "The queue is full",
    errors.RunnerUnreachable: "The runner does not answer",
    errors.LedgerUnreachable: "The database does not answer",
    errors.MageUnreachable: "Mage does not answer",
    errors.CommitBroken: "The commit is broken",
    errors.PackagesMissing: "dbt packages are missing",
    errors.ContentMissing: "Content that git keeps elsewhere is missing",
    errors.PreparationFailed: "The machine could not prepare the commit",
    errors.DbtUnfit: "The installed dbt does not fit",
    errors.RunFailed: "The run failed",
    errors.RunCancelled: "The run was cancelled",
}
"""For callers; each type of problem has its own."""


def type_of(kind: type[WorkspaceError]) -> str:
    """`urn:mage-dbt:key-reused` for KeyReused; stable, a program may compare it."""
    return PREFIX + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def title_of(kind: type[WorkspaceError]) -> str:
    """The same words for every problem of a type."""
    return TITLES[kind]


def known() -> list[type[WorkspaceError]]:
    """Every type of problem."""
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, WorkspaceError)
    ]


def instance_of(path: str) -> str:
    """The `instance` of a problem at an address; `path` is decoded and without a query."""
    return quote(path[:LONGEST_INSTANCE], safe="/")


def problem(error: WorkspaceError, instance: str = "") -> dict[str, Any]:
    """The body of the answer that reports `error`."""
    kind = type(error)
    body: dict[str, Any] = {
        "type": type_of(kind),
        "title": title_of(kind),
        "status": error.status,
        "detail": error.message,
        "hint": error.hint,
    }
    if instance:
        body["instance"] = instance
    if isinstance(error, KeyReused) and error.run:
        body["run"] = error.run
    return body


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


def read(body: Any, status: int, text: str) -> WorkspaceError:
    """The error that an answer reports; a WorkspaceError when the body is no problem of ours.

    `text` is the body as it came.
    """
    kinds = {type_of(kind): kind for kind in known()}
    try:
        kind = kinds.get(body["type"], WorkspaceError)
        error = kind(body["detail"], body.get("hint", ""))
        if isinstance(error, KeyReused):
            error.run = body.get("run", "")
        return error
    except (KeyError, TypeError):
        return WorkspaceError(f"The runner answered {status}: {text[:500]}")


def declared(kinds: Iterable[type[WorkspaceError]]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for the problems that an endpoint may answer with."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = found.setdefault(
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
        response["description"] = f"{response['description']} {title_of(kind)}.".strip()
        response["content"][MEDIA_TYPE]["examples"][kind.__name__] = {
            "summary": title_of(kind),
            "value": problem(_EXAMPLES.get(kind, kind(f"{title_of(kind)}."))),
        }
        for name in headers(kind("")):
            response.setdefault("headers", {})[name] = {
                "description": "Seconds to wait." if name == "Retry-After" else "What to send.",
                "required": True,
                "schema": {"type": "integer" if name == "Retry-After" else "string"},
            }
    return found


_EXAMPLES: Mapping[type[WorkspaceError], WorkspaceError] = {
    type(error): error
    for error in (
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
            "No run '20261123-080000-4f2a9c' in the ledger.",
            f"`{tool_command('runs')}` lists the last ones.",
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
        errors.TooLarge("The body is larger than 1000000 bytes.", "Send less, or in parts."),
        errors.NotJson(
            "The body is text/plain.", "Send JSON with `Content-Type: application/json`."
        ),
        TooManyRequests("More than 600 calls within a minute.", "Wait, then call less often."),
        errors.LedgerUnreachable("PostgreSQL, which holds the ledger, does not answer."),
        NoCommitReady("No commit of dbt-metric is ready yet.", "`GET /v1/status` says why."),
        QueueFull("100 runs wait already, as many as may.", "Ask again when some are over."),
    )
}
