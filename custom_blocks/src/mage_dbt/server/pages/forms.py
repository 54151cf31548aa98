"""The forms of the pages: how one is read, and what shows that it is one of ours."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qsl

from starlette.requests import Request as HttpRequest

from mage_dbt.errors import Forbidden, Malformed, RequestError

TOKEN_FIELD = "token"
"""The field of every form that holds its token."""

MOST_FIELDS = 200
"""Of one form."""

FORM = "application/x-www-form-urlencoded"


class Forms:
    """The forms of one workspace. Each holds a token: bound to the reader, and different in each
    page so that compressing tells none.

    `secret` is the workspace's, so a form survives a restart of the runner.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def read(self, http: HttpRequest, reader: str) -> dict[str, str]:
        """The fields of the form that this reader sends, without its token.

        Raises Malformed, RequestError for a field that comes twice, and Forbidden for a token that
        is not one of this reader's.
        """
        fields = await _fields(http)
        salt, _, digest = fields.pop(TOKEN_FIELD, "").partition(".")
        if not hmac.compare_digest(digest.encode(), self._digest(salt, reader).encode()):
            raise Forbidden(
                "This form is not one of this page's, or it belongs to another person.",
                "Load the page again and send it once more.",
            )
        return fields

    def token(self, reader: str) -> str:
        """A token for a form of this reader."""
        salt = secrets.token_hex(8)
        return f"{salt}.{self._digest(salt, reader)}"

    def _digest(self, salt: str, reader: str) -> str:
        return hmac.digest(self._secret, f"form\0{salt}\0{reader}".encode(), "sha256").hex()


async def _fields(http: HttpRequest) -> dict[str, str]:
    if http.headers.get("content-type", "").split(";")[0].strip() != FORM:
        raise Malformed(f"A form is sent as {FORM}.")
    try:
        text = (await http.body()).decode()
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise Malformed("The form cannot be read.", "Load the page again.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RequestError("A field of the form comes twice.", "Load the page again.")
    return fields
