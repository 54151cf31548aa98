"""Bodies of calls: their shape, checked by pydantic, and a refusal in words of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mage_dbt.errors import RequestError, did_you_mean

LONGEST_TEXT = 2_000
"""Characters in one text of a body: more is a mistake or an attack."""

PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: the text stands in lines of logs and lists."""

CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
"""A time of day, as 07:30."""

PATTERNS = {
    PLAIN: "holds a line break or another control character",
    CLOCK: "is a time of day from 00:00 to 23:59, in four digits, such as 07:30",
}
"""Ends of sentences, by the pattern that a field does not match; each pattern of a body has one."""

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class Body(BaseModel):
    """Something sent to us."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Checks the shape of plain data. Raises a RequestError that names the field."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise refusal(error.errors(include_url=False), cls.model_fields) from None


def refusal(
    found: Sequence[ErrorDetails | Mapping[str, Any]], known: Iterable[str]
) -> RequestError:
    """What pydantic found, as an error that names the field; `known` are the body's fields.

    A field that takes a text or a list has an error for each of the two.
    """
    name = str(found[0]["loc"][0])[:100]
    if found[0]["type"] == "extra_forbidden":
        return RequestError(f"Unknown field {name!r}.", did_you_mean(name, known))
    errors = {error["type"]: error for error in found if str(error["loc"][0])[:100] == name}
    pattern = errors.get("string_pattern_mismatch", {}).get("ctx", {}).get("pattern", "")
    if pattern in PATTERNS:
        return RequestError(f"`{name}` {PATTERNS[pattern]}.")
    for kind, message in MESSAGES.items():
        if kind in errors:
            return RequestError(f"`{name}` {message.format(**errors[kind].get('ctx', {}))}.")
    if "string_type" in errors:
        lists = any("list[" in str(error["loc"]) for error in found) or "list_type" in errors
        more = " or a list of texts" if lists else ""
        return RequestError(f"`{name}` is a text{more}.")
    return RequestError(f"`{name}`: {found[0]['msg']}.")


MESSAGES = {
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "is too long: it may hold {max_length}",
    "bool_type": "is true or false",
    "int_type": "is a number",
    "dict_type": "holds names with values, or is the text that `dbt --vars` takes",
}
"""Ends of sentences, by pydantic's types of errors."""
