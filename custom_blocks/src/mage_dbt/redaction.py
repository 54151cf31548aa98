"""Takes secrets out of text that leaves a process: the one place where that is done.

A process says with `hide` which values are secret as it comes to know them, and they stay hidden
after they were changed: an old password may still be in something that is written later. Variables
of dbt's (DBT_ENV_SECRET_…), and others that by their names are secret, are hidden without that.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from mage_dbt.secret_values import NAMES_A_FILE

SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|_PASS$|_PWD$|PRIVATE_KEY", re.IGNORECASE)

SHORTEST = 4
"""Characters; a shorter value stands in too many words that are no secret."""

SHORTEST_ENCODED = 8
"""As base64, the middle of a shorter one is too little to be told from other text."""

STARS = "*****"

_hidden: set[str] = set()


def hide(*values: str) -> None:
    """From now on these never leave this process by way of `scrub`."""
    _hidden.update(value for value in values if len(value) >= SHORTEST)


def scrub(text: str) -> str:
    """`text` without any secret this process knows, plain or encoded."""
    return _without(_known(), text)


def scrub_data(data: Any) -> Any:
    """Plain data with every text in it scrubbed; numbers and the like stay as they are."""
    known = _known()

    def scrubbed(part: Any) -> Any:
        if isinstance(part, str):
            return _without(known, part)
        if isinstance(part, dict):
            return {scrubbed(key): scrubbed(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return [scrubbed(one) for one in part]
        return part

    return scrubbed(data)


FREE_TEXT = frozenset(("message", "text", "hint", "warnings", "notes", "parse_warnings"))
"""What a worker tells in sentences. All else it tells identifies (ids, names, relations, paths) or
is a word of dbt's (statuses, kinds), and is compared: it stays as it is, whatever it holds."""


def scrub_told(told: Mapping[str, Any]) -> dict[str, Any]:
    """An event or an answer of a worker, without secrets in its free text."""
    return {name: scrub_data(value) if name in FREE_TEXT else value for name, value in told.items()}


class Formatter(logging.Formatter):
    """A log's lines, tracebacks too, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


def log_to_standard_error(level: int, layout: str) -> None:
    """As `logging.basicConfig`, with nothing secret in what is written."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(layout))
    logging.basicConfig(level=level, handlers=[handler])


def _without(secrets: Sequence[str], text: str) -> str:
    for value in secrets:
        for shape in _shapes(value):
            if shape in text:
                text = text.replace(shape, STARS)
    return text


def _known() -> list[str]:
    """All secrets, longest first: one may be a part of another."""
    named = {
        value
        for name, value in os.environ.items()
        if SECRET_NAME.search(name)
        and not name.endswith((NAMES_A_FILE, "_DIR"))
        and len(value.strip()) >= SHORTEST
    }
    return sorted(named | _hidden, key=len, reverse=True)


@lru_cache(maxsize=256)
def _shapes(value: str) -> tuple[str, ...]:
    """How a value may stand in text: as it is, in JSON, in a URL, in base64."""
    shapes = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    shapes |= {quote(value, safe=""), quote(value), quote_plus(value)}
    if len(value) >= SHORTEST_ENCODED:
        shapes |= _as_base64(value.encode())
    return tuple(sorted(shapes, key=len, reverse=True))


def _as_base64(value: bytes) -> set[str]:
    """In both alphabets, and wherever in a longer text the value begins: `user:password`."""
    found = set()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + value).decode()
        # Only characters that are made of the value alone.
        inner = text[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found
