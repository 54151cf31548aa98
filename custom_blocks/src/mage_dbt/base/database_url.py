"""PostgreSQL URLs, as each process that shares one database needs them."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def with_schema(url: str, schema: str) -> str:
    """The URL with `schema` as the session's search_path, beside the options it already has.

    The session's time zone is UTC, because Mage takes every time from PostgreSQL for UTC.
    """
    parts = urlsplit(url)
    before, options = [], ""
    for pair in parts.query.split("&") if parts.query else []:
        name, _, value = pair.partition("=")
        if name == "options":
            options = value + "%20"
        else:
            before.append(pair)
    before.append(f"options={options}{quote(f'-c search_path={schema} -c timezone=UTC', safe='')}")
    return parts._replace(query="&".join(before)).geturl()


def for_mage(url: str) -> str:
    """The URL with the driver's name in it: else Mage does not look for its schema."""
    return "postgresql+psycopg2" + url[url.index("://") :]
