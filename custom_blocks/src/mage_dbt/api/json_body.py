"""Reads a call's JSON strictly: what two programs could read differently is refused (400)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from starlette.requests import Request as HttpRequest

from mage_dbt.errors import Malformed, NotJson

DEEPEST = 20
"""Levels of lists and objects inside each other."""

LONGEST_NUMBER = 400
"""Digits of one number; more than any that dbt or a warehouse takes."""

MEDIA_TYPE = "application/json"


async def check(request: HttpRequest, optional: bool) -> None:
    """Refuses a body that is not one JSON object of ours.

    Raises Malformed, NotJson, and TooLarge from reading it.
    """
    body = await request.body()
    if not body:
        if optional:
            return
        raise Malformed("The call has no body.", "Send one JSON object.")
    given = request.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != MEDIA_TYPE or charset not in ("", "charset=utf-8"):
        raise NotJson(
            f"The body is {given[:100]!r}." if given else "The call does not say what its body is.",
            f"Send JSON in UTF-8 with `Content-Type: {MEDIA_TYPE}`.",
        )
    parse(body)


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
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one, depth + 1)


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
