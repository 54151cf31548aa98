"""How the text of a setting becomes its value: one function for each kind of setting.

Each raises ValueError when the text is unusable; the message ends the sentence "NAME=text cannot be
used: …". Only the standard library is used here.
"""

from __future__ import annotations

import csv
import re
import zoneinfo
from datetime import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from mage_dbt.base.redaction import is_secret_key
from mage_dbt.errors import did_you_mean

ENCODED = "in its password / is written as %2F, @ as %40, # as %23, ? as %3F and : as %3A"

PROVIDERS = ("oidc", "keycloak", "entra", "google", "github")
"""The files in oauth2-proxy/people: the same login with another identity provider."""


class Percent(NamedTuple):
    """A range in percent, both ends included."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least}-{self.most}"


def text(value: str) -> str:
    return value


def path(value: str) -> Path:
    return Path(value).expanduser().absolute()


def port(value: str) -> int:
    port = int(value)
    if not 1 <= port <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return port


def host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise ValueError("it is the name or the IPv4 address of a machine")
    return value


def count(value: str) -> int:
    count = int(value)
    if not 1 <= count <= 1000:
        raise ValueError("it is a whole number from 1 to 1000")
    return count


def rows(value: str) -> int:
    rows = int(value)
    if not 0 <= rows <= 100:
        raise ValueError("it is a whole number of rows from 0 to 100")
    return rows


def days(value: str) -> int:
    days = int(value)
    if not 0 <= days <= 36500:
        raise ValueError("it is a whole number of days from 0 to 36500")
    return days


def rate(value: str) -> int:
    rate = int(value)
    if not 1 <= rate <= 1_000_000:
        raise ValueError("it is a whole number from 1 to 1000000")
    return rate


def seconds(value: str) -> float:
    seconds = float(value)
    if not 0.2 <= seconds <= 86400:
        raise ValueError("it is a number of seconds from 0.2 to 86400")
    return seconds


def whole_seconds(value: str) -> int:
    seconds = int(value)
    if not 0 <= seconds <= 86400:
        raise ValueError("it is a whole number of seconds from 0 to 86400")
    return seconds


def percent(value: str) -> Percent:
    found = re.fullmatch(r"\s*(\d{1,6})\s*-\s*(\d{1,6})\s*", value)
    if not found:
        raise ValueError("write the least and the most percent with a dash between, as in 95-200")
    percent = Percent(int(found[1]), int(found[2]))
    if percent.least > percent.most or not percent.most:
        raise ValueError("the least percent stands first, as in 95-200")
    return percent


def switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("it is true or false")
    return value == "true"


def names(value: str) -> tuple[str, ...]:
    """Names with commas between, as in CSV: a name with a comma stands in double quotes."""
    try:
        rows = list(csv.reader([value], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"a quoted name is not ended: {error}") from None
    return tuple(part.strip() for row in rows for part in row if part.strip())


def clock(value: str) -> time:
    if not re.fullmatch(r"\d{2}:\d{2}", value):
        raise ValueError("write it as HH:MM, for example 08:00")
    return time.fromisoformat(value)


def zone(value: str) -> str:
    """The name of a time zone (tz database)."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        if not zones:  # no tz database here: our environments bring one, and check again
            return value
        raise ValueError(
            "no time zone has this name; use one like Asia/Seoul or Europe/Berlin. "
            + did_you_mean(value, zones)
        ) from None
    return value


def command(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it is a command on one line")
    return value


def git_ref(value: str) -> str:
    if value.startswith("-") or not re.fullmatch(r"[\w./+@-]{1,200}", value):
        raise ValueError("it is the name of a branch or tag")
    return value


def target(value: str) -> str:
    if value.startswith("-") or not value.isprintable():
        raise ValueError("it is the name of a target in profiles.yml")
    return value


def url(value: str) -> SplitResult:
    """The parts of a URL. Python's own message on a wrong one would show parts of a password."""
    if not value.isprintable():
        raise ValueError("it holds a line break or another control character")
    try:
        parts = urlsplit(value)
        parts.hostname  # noqa: B018, both are read only here
        port = parts.port
    except ValueError:
        raise ValueError("it is no URL, or its port is no number from 1 to 65535") from None
    if port == 0:
        raise ValueError("its port is no number from 1 to 65535")
    return parts


def repository(value: str) -> str:
    if value.startswith("-") or re.match(r"https?(?!://)[:/]|https?:///", value):
        raise ValueError("it is a path or a URL of a git repository")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        parts = url(value)
        asked = {pair.partition("=")[0] for pair in parts.query.split("&")}
        over_ssh = "ssh" in parts.scheme  # whose user is no secret
        user = "@" in parts.netloc and not over_ssh
        if user or parts.password or any(map(is_secret_key, asked)):
            raise ValueError(
                "a user, password or token does not belong in it, because git's command line shows "
                "it; leave it out, and use a git credential helper or SSH"
            )
    elif re.match(r"[^/@]*:[^/]*@", value):
        raise ValueError("a password does not belong in it; use a git credential helper or SSH")
    return value


def subfolder(value: str) -> str:
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError("it is a folder inside the repository")
    return value


def web_address(value: str) -> str:
    parts = url(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it is an address like https://mage.example.com")
    if "@" in parts.netloc:
        raise ValueError("a user or password does not belong in it")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-f:.]+", parts.hostname):
        raise ValueError(
            "its host is written as browsers send it: letters, digits, dots and dashes, and a name "
            "in another script as xn--…"
        )
    return value.rstrip("/")


def provider(value: str) -> str:
    if value not in PROVIDERS:
        raise ValueError(f"it is one of {', '.join(PROVIDERS)}")
    return value


def database_url(value: str) -> str:
    if not re.match(r"postgres(ql)?://", value):
        raise ValueError("it starts with postgresql://")
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", value):
        raise ValueError("a % in it is written as %25, and a NUL cannot be in it")
    try:
        parts = url(value)
    except ValueError as error:
        raise ValueError(f"{error}; {ENCODED}" if "@" in value else str(error)) from None
    cut = "@" in parts.query and "@" not in parts.netloc
    if cut or "#" in value or "@" in parts.path or parts.netloc.count("@") > 1:
        raise ValueError(ENCODED)
    if not all("=" in pair for pair in parts.query.split("&") if parts.query):
        raise ValueError("behind its ? stand name=value, with & between")
    return value
