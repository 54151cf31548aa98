"""What keeps other pages out of this one: Content-Security-Policy. `forms.py` has the tokens."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""No inline script, no inline style, nothing from elsewhere, and no frame around it."""

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def new_nonce() -> str:
    return secrets.token_urlsafe(16)


def headers(nonce: str, frames: bool) -> dict[str, str]:
    """The headers of a page whose scripts bear this nonce; `frames`: it shows our own in frames."""
    policy = POLICY.format(nonce=nonce) + ("; frame-src 'self'" if frames else "")
    return {**HEADERS, "Content-Security-Policy": policy}
