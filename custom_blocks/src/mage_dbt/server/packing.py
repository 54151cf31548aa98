"""Whether a caller takes an answer packed with gzip (RFC 9110, 12.5.3)."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest

GZIP = ("gzip", "x-gzip")
"""Its two names."""


def takes_gzip(http: HttpRequest) -> bool:
    """Whether the call accepts gzip. A weight of 0 refuses it; `*` means every coding not named."""
    weights = {}
    for part in ",".join(http.headers.getlist("accept-encoding")).split(","):
        coding, *parameters = (word.strip().lower() for word in part.split(";"))
        weights[coding] = _weight(parameters)
    named = [weights[name] for name in GZIP if name in weights]
    return max(named, default=weights.get("*", 0.0)) > 0


def _weight(parameters: list[str]) -> float:
    """What `q=` says; 1 without it, and 0 for what is no weight."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
