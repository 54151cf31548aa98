"""Takes secrets out of text that leaves a process, and credentials out of URLs. Nothing else does.

A process calls `hide` for each secret value as it learns it. The value stays hidden after it was
changed: text that is written later may still hold the old password. For a folder of secrets it
calls `hide_files_in` once. Three kinds need no call: variables of dbt's (DBT_ENV_SECRET_…),
variables whose names say that they are secret, and passwords in the URLs of any variable. Only the
standard library is used here.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from mage_dbt.base.secret_values import NAMES_A_FILE

SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|_PASS$|_PWD$|(PRIVATE|API|ACCESS|ACCOUNT)_?KEY",
    re.IGNORECASE,
)
"""Names of secret environment variables. CREDENTIALS is missing: its value is mostly a path."""

SECRET_KEY = re.compile(
    r"[\w.-]*(?:secret|password|passwd|passphrase|token|private[_-]?key|access[_-]?key|api[_-]?key"
    r"|account[_-]?key|authorization|signature|credentials?)[\w.-]*|pass|pwd|jwt|sig",
    re.IGNORECASE,
)
"""Keys of secrets in profiles, query strings and connection strings."""

PERSONAL = re.compile(
    r"(?:.*_)?(?:ssn|social_?security\w*|card|(?:credit_?)?card_?(?:no|num|number|code|holder)|pan"
    r"|cvv2?|cvc2?|pin|otp|iban|bic|account_?(?:no|num|number)|passport\w*|tax_?(?:id|no|number)"
    r"|national_?id|resident_?(?:no|number|registration\w*)|rrn|salt|hash|private|key_?material"
    r"|encryption_?key|signing_?key)(?:_.*)?"
    r"|.*(?:비밀번호|암호|주민(?:등록)?번호|카드번호|계좌번호|여권번호|토큰).*",
    re.IGNORECASE,
)
"""Names of columns and variables with what identifies or authorizes a person, beside SECRET_KEY."""

NO_WORD = re.compile(r"[^\w.-]+")
"""What separates the words of a column's name in quotes: `API key`."""

PAIR = re.compile(
    r"""(?<![\w.-])["']?([\w.-]{1,100})["']?\s*[:=]\s*"""
    r"""(?=('[^'\n]{1,4000}'|"[^"\n]{1,4000}"|[^\s&;,#'"{}]{1,4000}))"""
)
"""`password=…`, `token: …` and the like in a text; a value may hold further pairs."""

IN_A_QUERY = re.compile(r"([?&]([\w.-]{1,100})=)[^\s&#\"'<>]+")

IN_A_URL = re.compile(r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://)([^/?#\s\"'<>]*)@", re.IGNORECASE)
"""A URL's scheme, user and password: up to the last @ before the path."""

SHORTEST = 4
"""Characters. A shorter secret is not hidden: it is a part of too many ordinary words."""

SHORTEST_ENCODED = 8
"""Characters. A shorter secret is not looked for in base64, where too little of it shows."""

STARS = "*****"

_hidden: set[str] = set()

LOOK_SECONDS = 1.0
"""Between two looks at each file of a folder of secrets. What renames files changes the folder, and
that is seen at once; a file that is edited in place is not seen by its folder."""


@dataclass
class _Folder:
    """What was seen of a folder whose files are secrets."""

    changed_at: int = 0
    """Nanoseconds since the epoch."""
    look_at: float = 0.0
    """When each file is looked at again, on the monotonic clock."""
    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By name, of those that were read: what changes when a file, or who may read it, does."""


_folders: dict[Path, _Folder] = {}


def hide(*values: str) -> None:
    """From now on `scrub` takes these values out of any text."""
    _hidden.update(_long_enough(values))


def hide_files_in(folder: Path) -> None:
    """From now on `scrub` takes out what the files in `folder` hold, as far as this process may
    read them; also files that come or change later, `LOOK_SECONDS` after that at the latest. A
    process that was just forked calls it again, and looks at once."""
    _folders.setdefault(folder, _Folder()).look_at = 0.0


def hide_file(file: Path) -> bool:
    """From now on `scrub` takes out each line of a file. Returns whether it could be read."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    # A secret is a line whole; of the addresses of alerts, each line is one. A comment's line has
    # blanks.
    hide(*(line for line in lines if not (line.startswith("#") and " " in line)))
    return True


def is_secret_key(name: str) -> bool:
    """Whether the value of this key, in a profile or a query string, is a secret."""
    return SECRET_KEY.fullmatch(name) is not None


def hides_its_value(name: str) -> bool:
    """Whether what a column or a variable of this name holds is shown to nobody."""
    name = NO_WORD.sub("_", name)
    return is_secret_key(name) or PERSONAL.fullmatch(name) is not None


def secrets_in(text: str) -> set[str]:
    """Passwords of the URLs in `text`, and the values of its secret keys."""
    found = {match[2].strip("'\"") for match in PAIR.finditer(text) if is_secret_key(match[1])}
    for match in IN_A_URL.finditer(text):
        password = match[2].partition(":")[2]
        found |= {password, unquote(password)}
    return found - {""}


def without_credentials(text: str) -> str:
    """`text`, in which no URL has a user, password or token any more."""

    def pair(found: re.Match[str]) -> str:
        return found[1] + STARS if is_secret_key(found[2]) else found[0]

    return IN_A_QUERY.sub(pair, IN_A_URL.sub(r"\1", text))


def shown_url(url: str) -> str:
    """One URL for a message: host and path, without user, password, query and fragment.

    `url` may be no right URL: a secret may stand anywhere before its last @.
    """
    _, at, rest = url.rpartition("@")
    return f"{'…@' if at else ''}{re.split('[?#]', rest)[0]}"


def scrub(text: str) -> str:
    """`text` without any secret this process knows, plain or encoded."""
    return _without(_known(), text)


def scrubber() -> Callable[[str], str]:
    """A quicker `scrub`, for a process whose environment stays as it is now."""
    known: list[str] = []
    hidden = -1

    def quick(text: str) -> str:
        nonlocal known, hidden
        _read_folders()
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
            return [scrubbed(item) for item in part]
        return part

    return scrubbed(data)


FREE_TEXT = frozenset(("message", "text", "hint", "warnings", "notes", "parse_warnings"))
"""Fields of a worker's messages that hold sentences. All others are compared, as ids, names, paths
and statuses are: they stay as they are, whatever they hold."""


def scrub_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's event or answer, without secrets in its free text."""
    return {
        name: scrub_data(value) if name in FREE_TEXT else value for name, value in message.items()
    }


LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Formatter(logging.Formatter):
    """Formats log records: without secrets, tracebacks included, with the time and its zone."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone` None: the machine's time zone."""
        super().__init__(LOG_FORMAT)
        self._zone = zone

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone(self._zone)
        return f"{moment:%Y-%m-%d %H:%M:%S}.{record.msecs:03.0f} {moment:%Z}"

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


def log_to_standard_error(level: int, zone: tzinfo | None) -> None:
    """Configures logging to standard error, without secrets."""
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
    """All known secrets, longest first: one may be a part of another."""
    _read_folders()
    named: set[str] = set()
    for name, value in os.environ.items():
        if _is_secret_variable(name):
            named.add(value)
        elif "@" in value:
            named |= _passwords_in(value)
    return sorted(_long_enough(named) | _hidden, key=len, reverse=True)


def _read_folders() -> None:
    now = time.monotonic()
    for folder, seen in _folders.items():
        with suppress(OSError):  # there is none yet, or it is another user's
            changed_at = folder.stat().st_mtime_ns
            if changed_at == seen.changed_at and now < seen.look_at:
                continue
            for file in sorted(folder.iterdir()):
                _hide_changed(file, seen)
            seen.changed_at, seen.look_at = changed_at, now + LOOK_SECONDS


def _hide_changed(file: Path, seen: _Folder) -> None:
    with suppress(OSError):  # it is gone, or a link that leads nowhere
        status = file.stat()
        version = (status.st_ctime_ns, status.st_size, status.st_ino)
        if seen.files.get(file.name) != version and hide_file(file):
            seen.files[file.name] = version


@lru_cache(maxsize=1024)
def _is_secret_variable(name: str) -> bool:
    path = name.endswith((NAMES_A_FILE, "_DIR"))
    return not path and SECRET_NAME.search(name) is not None


def _long_enough(values: Iterable[str]) -> set[str]:
    return {value for value in values if len(value.strip()) >= SHORTEST}


@lru_cache(maxsize=256)
def _passwords_in(text: str) -> frozenset[str]:
    """Of the URLs in a variable's value, such as an HTTP proxy's."""
    return frozenset(secrets_in(text))


@lru_cache(maxsize=256)
def _shapes(value: str) -> tuple[str, ...]:
    """The spellings of a value: as it is, in JSON, in a URL, in base64."""
    shapes = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    shapes |= {quote(value, safe=""), quote(value), quote_plus(value)}
    if len(value) >= SHORTEST_ENCODED:
        shapes |= _as_base64(value.encode())
    return tuple(sorted(shapes, key=len, reverse=True))


def _as_base64(value: bytes) -> set[str]:
    """In both alphabets, at each offset in a longer text (`user:password`)."""
    found = set()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + value).decode()
        # Only the characters that encode nothing but the value.
        inner = text[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found
