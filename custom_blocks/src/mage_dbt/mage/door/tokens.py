"""A viewer sees no trigger's token, wherever it stands: Mage keeps them in its database, and in
files that it shows as it shows any other."""

from __future__ import annotations

SHORTEST = 8
"""Characters; less is no secret, and hiding it would spoil what says the same by chance."""


def all_tokens() -> list[bytes]:
    """Every trigger's token, as Mage's database has them now."""
    from mage_ai.orchestration.db import safe_db_query

    return [one.encode() for one in safe_db_query(_tokens)() if one and len(one) >= SHORTEST]


def without(text: bytes, tokens: list[bytes]) -> bytes:
    """The text with stars for tokens, as long as before."""
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, b"*" * len(token))
    return text


def _tokens() -> list[str | None]:
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import PipelineSchedule

    found = db_connection.session.query(PipelineSchedule.token).distinct()
    return [token for (token,) in found]
