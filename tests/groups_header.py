"""The header in which the proxies tell somebody's groups."""

from __future__ import annotations

import base64


def groups_header(*groups: str, secret: str) -> str:
    """As oauth2-proxy writes it with `basicAuthPassword`, several values joined."""
    told = (base64.b64encode(f"{one}:{secret}".encode()).decode() for one in groups if one)
    return ",".join(f"Basic {one}" for one in told)
