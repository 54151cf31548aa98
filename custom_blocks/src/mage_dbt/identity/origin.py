"""Checks that a browser's call is for this workspace, and from one of its own pages."""

from __future__ import annotations

from mage_dbt.errors import Forbidden
from mage_dbt.identity.person import Values

READING = ("GET", "HEAD")


def refuse_other_page(values: Values, method: str, host: str, origin: str, page: bool) -> None:
    """Raises Forbidden unless the call is for `host`, and, when a page makes it, from `origin`.

    The host check stops a name that an attacker points at this machine. The Origin stops other
    pages: a browser sends it with every web socket and with every method but GET. A plain GET of
    another page (an image, a script) has no Origin, and browsers mark it by `Sec-Fetch-Site`. When
    `page` is true, any page may link to the address: it opens in the window.
    """
    hosts, origins = values("Host"), values("Origin")
    if len(hosts) != 1 or hosts[0].lower() != host.lower():
        raise Forbidden(
            f"The call is for the host {(hosts or ['?'])[0][:100]!r}, which this is not.",
            f"This workspace is at {origin}.",
        )
    if origins and (len(origins) != 1 or origins[0].lower() != origin.lower()):
        raise Forbidden(
            f"The call comes from another web page (Origin: {origins[0][:100]}).",
            f"Only the pages of {origin} may.",
        )
    site, mode, dest = (
        ",".join(values(f"Sec-Fetch-{name}")).lower() for name in ("Site", "Mode", "Dest")
    )
    reads = method in READING
    ours = site in ("", "same-origin") or (reads and site == "none")  # none: a typed address
    link = reads and page and (mode, dest) == ("navigate", "document")
    if not ours and not link:
        raise Forbidden(
            f"The call comes from another web page (Sec-Fetch-Site: {site[:50]}).",
            f"Only the pages of {origin} may.",
        )
