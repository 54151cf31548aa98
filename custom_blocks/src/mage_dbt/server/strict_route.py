"""A route that reads a call strictly, and its body once, before FastAPI looks at it.

What would be ignored otherwise is refused: an unknown parameter, one that is given twice, JSON that
two programs could read differently.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

from fastapi.routing import APIRoute
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mage_dbt.errors import Malformed, NotJson, RequestError, did_you_mean

ONCE = ("Idempotency-Key", "Last-Event-ID", "Content-Type")
"""Headers of which two would contradict each other."""

DEEPEST = 20
"""Levels of lists and objects inside each other."""

LONGEST_NUMBER = 400
"""Digits of one number; more than any that dbt or a warehouse takes."""

MEDIA_TYPE = "application/json"


class StrictRoute(APIRoute):
    """Raises Malformed, NotJson, TooLarge or a RequestError for a call that is not plain."""

    def get_route_handler(self) -> Callable[[HttpRequest], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = {parameter.alias for parameter in self.dependant.query_params}
        body = self.body_field

        async def checked(call: HttpRequest) -> Response:
            _check_headers(call)
            _check_query(call, parameters)
            if body is None:
                return await handle(call)
            return await handle(await _with_json(call, not body.field_info.is_required()))

        return checked


class _JsonCall(HttpRequest):
    """A call whose body is read already; FastAPI takes the body from here."""

    data: dict[str, Any]

    async def json(self) -> dict[str, Any]:
        return self.data


async def _with_json(call: HttpRequest, optional: bool) -> HttpRequest:
    body = await call.body()
    if not body:
        if optional:
            return call
        raise Malformed("The call has no body.", "Send one JSON object.")
    given = call.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != MEDIA_TYPE or charset not in ("", "charset=utf-8"):
        raise NotJson(
            f"The body is {given[:100]!r}." if given else "The call does not say what its body is.",
            f"Send JSON in UTF-8 with `Content-Type: {MEDIA_TYPE}`.",
        )
    read = _JsonCall(call.scope, call.receive)
    read._body = body  # as Starlette keeps a body that has been read
    read.data = parse(body)
    return read


def _check_headers(call: HttpRequest) -> None:
    for name in ONCE:
        if len(call.headers.getlist(name)) > 1:
            raise Malformed(f"The header `{name}` is given twice.", "Give it once.")


def _check_query(call: HttpRequest, known: set[str]) -> None:
    for name, count in Counter(name for name, _ in call.query_params.multi_items()).items():
        if name not in known:
            raise RequestError(
                f"Unknown parameter {name[:100]!r}.",
                did_you_mean(name[:100], known)
                or (f"Known are {', '.join(sorted(known))}." if known else "It takes none."),
            )
        if count > 1:
            raise RequestError(f"The parameter `{name}` is given {count} times.", "Give it once.")


def parse(body: bytes) -> dict[str, Any]:
    """The object in `body`. Raises Malformed."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 at byte {error.start}.", "JSON is UTF-8.") from None
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise Malformed(
            f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}.",
            "Send one JSON object.",
        ) from None
    except RecursionError:
        _too_deep()
    if not isinstance(data, dict):
        raise Malformed("The body is JSON, but not an object.", "Send one JSON object.")
    for part in _texts(data, 1):
        if "\x00" in part or any("\ud800" <= letter <= "\udfff" for letter in part):
            raise Malformed(
                "A text in the body holds what is no character (NUL, or half of a pair).",
                "Leave it out.",
            )
    return data


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Every text inside `value`, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        if depth > DEEPEST:
            _too_deep()
        if isinstance(value, dict):
            yield from value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner, depth + 1)


def _too_deep() -> NoReturn:
    raise Malformed(f"The body is nested deeper than {DEEPEST} levels.", "Send plain values.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Malformed(f"The field {twice[:100]!r} is given twice.", "Give it once.")
    return found


def _constant(text: str) -> NoReturn:
    raise Malformed(f"{text} is not JSON.", "Send a number, or null.")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or len(text) > LONGEST_NUMBER:
        raise Malformed("A number in the body is too large.", "Send it as a text.")
    return value


def _int(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise Malformed("A number in the body is too large.", "Send it as a text.")
    return int(text)
