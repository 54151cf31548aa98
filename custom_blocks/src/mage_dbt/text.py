"""Text that every border can carry: what UTF-8, jsonb and PostgreSQL cannot hold is replaced.

That is NUL, and half of a surrogate pair, as which Python also keeps bytes that were no UTF-8 (the
name of a file, a commit's message).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """`text` with U+FFFD for what is no character."""
    return NO_CHARACTER.sub(REPLACEMENT, text)


def storable_json(data: Any) -> str:
    """`data` as JSON that jsonb takes: a number that JSON does not know becomes null."""
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        if "\\u0000" not in text:
            text.encode()
            return text
    except ValueError:  # of which UnicodeEncodeError is one
        pass
    return json.dumps(_storable_data(data), ensure_ascii=False)


def ascii_json(data: Any) -> str:
    """`data` as JSON of one line that any encoding holds, and whose texts are storable."""
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
        return [_storable_data(one) for one in data]
    return data
