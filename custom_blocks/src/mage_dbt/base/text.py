"""Text that UTF-8, jsonb and PostgreSQL can hold: what they cannot hold is replaced.

They cannot hold NUL, nor half of a surrogate pair. Python keeps bytes that are no UTF-8, as in the
name of a file or a commit's message, as such halves.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for the tab and the end of a line, and those that turn the direction."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """`text` with U+FFFD in place of NUL and of halves of surrogate pairs."""
    return NO_CHARACTER.sub(REPLACEMENT, text)


def printable(text: str) -> str:
    """`text` without what moves a terminal's cursor, colours it, or turns its direction."""
    return UNPRINTABLE.sub("", text)


def spelled(name: str) -> str:
    """`name` as it can be written in one line of text: `\\t` for a tab, as errors quote it."""
    if name.isprintable():
        return name
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def storable_json(data: Any) -> str:
    """`data` as JSON that jsonb accepts; infinity and not-a-number become null."""
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        if "\\u0000" not in text:
            text.encode()
            return text
    except ValueError:  # of which UnicodeEncodeError is one
        pass
    return json.dumps(_storable_data(data), ensure_ascii=False)


def ascii_json(data: Any) -> str:
    """`data` as one line of ASCII JSON, with storable texts."""
    text = json.dumps(data)
    if "\\ud" in text or "\\u0000" in text:  # or a character of two halves, which stays
        text = json.dumps(_storable_data(data))
    return text


def _storable_data(data: Any) -> Any:
    if isinstance(data, str):
        return storable(data)
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {_storable_data(name): _storable_data(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_storable_data(item) for item in data]
    return data
