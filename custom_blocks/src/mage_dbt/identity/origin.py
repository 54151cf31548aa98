"""A browser's call is for this workspace, and from one of its own pages."""

from __future__ import annotations

from mage_dbt.errors import Forbidden
from mage_dbt.identity.person import Values

READING = ("GET", "HEAD")


def refuse_other_page(values: Values, method: str, host: str, origin: str) -> None:
    """Raises Forbidden unless the call is for `host`, and from a page of `origin` if from one.

    The host stops a name that an attacker points at this machine; the Origin, which a browser sends
    with every web socket and with whatever is not a plain GET, stops a page of somebody else's.
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
    fetched = [one.lower() for one in values("Sec-Fetch-Site")]
    if method not in READING and fetched and fetched != ["same-origin"]:
        raise Forbidden(
            f"The call comes from another web page (Sec-Fetch-Site: {fetched[0][:50]}).",
            f"Only the pages of {origin} may.",
        )
