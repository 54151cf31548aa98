"""PostgreSQL's URLs, as the processes that share one database want them."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def with_schema(url: str, schema: str) -> str:
    """The URL with `schema` as the session's search_path, beside what options it already has.

    And in UTC, because Mage takes the times PostgreSQL gives it for UTC.
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
    """As Mage wants it: it looks for its schema only with this driver's name."""
    return "postgresql+psycopg2" + url[url.index("://") :]


def without_password(url: str) -> str:
    """For messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
