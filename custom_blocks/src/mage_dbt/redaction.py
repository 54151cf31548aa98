"""Takes secrets out of text that leaves a process: the one place where that is done.

A process says with `hide` which values are secret as it comes to know them, and they stay hidden
after they were changed: an old password may still be in something that is written later. Variables
of dbt's (DBT_ENV_SECRET_…), others that by their names are secret, and passwords in the URLs that
variables hold, are hidden without that. Only the standard library is used here.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from mage_dbt.secret_values import NAMES_A_FILE

SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|_PASS$|_PWD$|(PRIVATE|API|ACCESS|ACCOUNT)_?KEY",
    re.IGNORECASE,
)
"""Names of environment variables that are secret. One of credentials is a path as a rule."""

SECRET_KEY = re.compile(
    r"[\w.-]*(?:secret|password|passwd|passphrase|token|private[_-]?key|access[_-]?key|api[_-]?key"
    r"|account[_-]?key|authorization|signature|credentials?)[\w.-]*|pass|pwd|jwt|sig",
    re.IGNORECASE,
)
"""Keys of secrets, as profiles, query strings and connection strings have them."""

PAIR = re.compile(
    r"""(?<![\w.-])["']?([\w.-]{1,100})["']?\s*[:=]\s*"""
    r"""(?=('[^'\n]{1,4000}'|"[^"\n]{1,4000}"|[^\s&;,#'"{}]{1,4000}))"""
)
"""`password=…`, `token: …` and the like, in a text; a value may hold others."""

IN_A_QUERY = re.compile(r"([?&]([\w.-]{1,100})=)[^\s&#\"'<>]+")

IN_A_URL = re.compile(r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://)([^/?#\s\"'<>]*)@", re.IGNORECASE)
"""A URL's user and password: all before the last @ that can be theirs."""

SHORTEST = 4
"""Characters; a shorter value stands in too many words that are no secret."""

SHORTEST_ENCODED = 8
"""As base64, the middle of a shorter one is too little to be told from other text."""

STARS = "*****"

_hidden: set[str] = set()


def hide(*values: str) -> None:
    """From now on these never leave this process by way of `scrub`."""
    _hidden.update(_long_enough(values))


def is_secret_key(name: str) -> bool:
    """Whether what has this name in a profile or a query string is a secret."""
    return SECRET_KEY.fullmatch(name) is not None


def secrets_in(text: str) -> set[str]:
    """Passwords of the URLs in `text`, and what by its key is secret in it."""
    found = {match[2].strip("'\"") for match in PAIR.finditer(text) if is_secret_key(match[1])}
    for match in IN_A_URL.finditer(text):
        password = match[2].partition(":")[2]
        found |= {password, unquote(password)}
    return found - {""}


def without_credentials(text: str) -> str:
    """Any URL in `text` without the user, password and token it may hold."""

    def pair(found: re.Match[str]) -> str:
        return found[1] + STARS if is_secret_key(found[2]) else found[0]

    return IN_A_QUERY.sub(pair, IN_A_URL.sub(r"\1", text))


def scrub(text: str) -> str:
    """`text` without any secret this process knows, plain or encoded."""
    return _without(_known(), text)


def scrubber() -> Callable[[str], str]:
    """As `scrub`, and quicker, for a process whose environment stays as it is now."""
    known: list[str] = []
    hidden = -1

    def quick(text: str) -> str:
        nonlocal known, hidden
        if hidden != len(_hidden):
            hidden, known = len(_hidden), _known()
        return _without(known, text)

    return quick


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


LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""Of a line of a log."""


class Formatter(logging.Formatter):
    """A log's lines, tracebacks too, without secrets, at the time of a zone that they name."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """Without a zone it is the machine's."""
        super().__init__(LAYOUT)
        self._zone = zone

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone(self._zone)
        return f"{moment:%Y-%m-%d %H:%M:%S}.{record.msecs:03.0f} {moment:%Z}"

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


def log_to_standard_error(level: int, zone: tzinfo | None) -> None:
    """As `logging.basicConfig`, with nothing secret in what is written."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(zone))
    logging.basicConfig(level=level, handlers=[handler])


def _without(secrets: Sequence[str], text: str) -> str:
    for value in secrets:
        for shape in _shapes(value):
            if shape in text:
                text = text.replace(shape, STARS)
    return text


def _known() -> list[str]:
    """All secrets, longest first: one may be a part of another."""
    named: set[str] = set()
    for name, value in os.environ.items():
        if _is_secret_variable(name):
            named.add(value)
        elif "@" in value:
            named |= _passwords_in(value)
    return sorted(_long_enough(named) | _hidden, key=len, reverse=True)


@lru_cache(maxsize=1024)
def _is_secret_variable(name: str) -> bool:
    path = name.endswith((NAMES_A_FILE, "_DIR"))
    return not path and SECRET_NAME.search(name) is not None


def _long_enough(values: Iterable[str]) -> set[str]:
    return {value for value in values if len(value.strip()) >= SHORTEST}


@lru_cache(maxsize=256)
def _passwords_in(text: str) -> frozenset[str]:
    """Of the URLs in a variable's value, such as that of an HTTP proxy."""
    return frozenset(secrets_in(text))


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
