"""A browser's call is for this workspace, and from one of its own pages."""

from __future__ import annotations

from mage_dbt.errors import Forbidden
from mage_dbt.identity.person import Values

READING = ("GET", "HEAD")


def refuse_other_page(values: Values, method: str, host: str, origin: str, page: bool) -> None:
    """Raises Forbidden unless the call is for `host`, and from a page of `origin` if from one.

    The host stops a name that an attacker points at this machine; the Origin, which a browser sends
    with every web socket and with whatever is not a plain GET, stops a page of somebody else's. A
    plain GET that another page makes (an image, a script) has no Origin; browsers tell it by
    `Sec-Fetch-Site`. A link to a `page` may stand anywhere: that is one that opens in the window.
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
        ",".join(values(f"Sec-Fetch-{one}")).lower() for one in ("Site", "Mode", "Dest")
    )
    reads = method in READING
    ours = site in ("", "same-origin") or (reads and site == "none")  # none: a typed address
    link = reads and page and (mode, dest) == ("navigate", "document")
    if not ours and not link:
        raise Forbidden(
            f"The call comes from another web page (Sec-Fetch-Site: {site[:50]}).",
            f"Only the pages of {origin} may.",
        )
