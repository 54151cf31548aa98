"""The workspace's settings: every name, its default, what it means, and how it is read.

A setting comes from the environment or from one file, `workspace.env` at the top of the checkout
(`NAME=value` lines, `#` comments); the environment wins. An unknown name is refused, so that a
misspelt one never passes for its default. `docs/settings.md` lists them all; a test compares the
two. Only the standard library is used here: this runs before anything is installed.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mage_dbt import secret_values
from mage_dbt.alerts import deadline
from mage_dbt.errors import SettingError, did_you_mean
from mage_dbt.redaction import is_secret_key

CHECKOUT = Path(__file__).resolve().parents[3]
"""The top of the checkout this package was started from."""

SETTINGS_FILE = "workspace.env"

OUR_PREFIXES = (
    *("DBT_METRIC_", "DAILY_BUILD_", "WORKSPACE_", "RUNNER_"),
    *("MORNING_BUILD_", "ALERT_URLS_", "LOGIN_"),
)
"""Names that start so are ours alone; in the environment only these can be called unknown."""

INTERNAL_NAMES = ("WORKSPACE_INSTANCE", "RUNNER_SOCKET")
"""Set by the workspace on the processes it starts; not for people."""

ENCODED = "in its password / is written as %2F, @ as %40, # as %23, ? as %3F and : as %3A"

PROVIDERS = ("oidc", "keycloak", "entra", "google", "github")
"""The files in oauth2-proxy/people: the same door with another identity provider."""


def _text(value: str) -> str:
    return value


def _path(value: str) -> Path:
    return Path(value).expanduser().absolute()


def _port(value: str) -> int:
    port = int(value)
    if not 1 <= port <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return port


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise ValueError("it is the name or the IPv4 address of a machine")
    return value


def _count(value: str) -> int:
    count = int(value)
    if not 1 <= count <= 1000:
        raise ValueError("it is a whole number from 1 to 1000")
    return count


def _days(value: str) -> int:
    days = int(value)
    if not 0 <= days <= 36500:
        raise ValueError("it is a whole number of days from 0 to 36500")
    return days


def _rate(value: str) -> int:
    rate = int(value)
    if not 1 <= rate <= 1_000_000:
        raise ValueError("it is a whole number from 1 to 1000000")
    return rate


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0.2 <= seconds <= 86400:
        raise ValueError("it is a number of seconds from 0.2 to 86400")
    return seconds


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("it is true or false")
    return value == "true"


def _names(value: str) -> tuple[str, ...]:
    """With commas between; a name that holds one stands in double quotes, as in CSV."""
    try:
        rows = list(csv.reader([value], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"a quoted name is not ended: {error}") from None
    return tuple(part.strip() for row in rows for part in row if part.strip())


def _clock(value: str) -> time:
    if not re.fullmatch(r"\d{2}:\d{2}", value):
        raise ValueError("write it as HH:MM, for example 08:00")
    return time.fromisoformat(value)


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        if not zones:  # no tz database before our environments exist; they bring one and ask again
            return value
        raise ValueError(
            "no time zone has this name; use one like Asia/Seoul or Europe/Berlin. "
            + did_you_mean(value, zones)
        ) from None
    return value


def _git_ref(value: str) -> str:
    if value.startswith("-") or not re.fullmatch(r"[\w./+@-]{1,200}", value):
        raise ValueError("it is the name of a branch or tag")
    return value


def _target(value: str) -> str:
    if value.startswith("-") or not value.isprintable():
        raise ValueError("it is the name of a target in profiles.yml")
    return value


def _url(value: str) -> SplitResult:
    """Its parts. Python's own words on what is no URL hold parts of it, and so of a password."""
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


def _repository(value: str) -> str:
    if value.startswith("-") or re.match(r"https?(?!://)[:/]|https?:///", value):
        raise ValueError("it is a path or a URL of a git repository")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        parts = _url(value)
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


def _subfolder(value: str) -> str:
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError("it is a folder inside the repository")
    return value


def _web_address(value: str) -> str:
    parts = _url(value)
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


def _provider(value: str) -> str:
    if value not in PROVIDERS:
        raise ValueError(f"it is one of {', '.join(PROVIDERS)}")
    return value


def _database_url(value: str) -> str:
    if not re.match(r"postgres(ql)?://", value):
        raise ValueError("it starts with postgresql://")
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", value):
        raise ValueError("a % in it is written as %25, and a NUL cannot be in it")
    try:
        parts = _url(value)
    except ValueError as error:
        raise ValueError(f"{error}; {ENCODED}" if "@" in value else str(error)) from None
    cut = "@" in parts.query and "@" not in parts.netloc
    if cut or "#" in value or "@" in parts.path or parts.netloc.count("@") > 1:
        raise ValueError(ENCODED)
    if not all("=" in pair for pair in parts.query.split("&") if parts.query):
        raise ValueError("behind its ? stand name=value, with & between")
    return value


def _setting(default: str | None, parse: Callable[[str], Any], meaning: str) -> Any:
    return field(metadata={"default": default, "parse": parse, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """One workspace's settings, parsed. Field `mage_port` is the setting `MAGE_PORT`, and so on."""

    dbt_metric_repo: str | None = _setting(
        None, _repository, "Your dbt repository: a path or a git URL. Unset: the demo."
    )
    dbt_metric_ref: str = _setting("main", _git_ref, "The branch or tag that is live.")
    dbt_metric_dir: Path | None = _setting(
        None,
        _path,
        "The folder in which git-sync keeps its `current` link. Unset: the workspace runs a small "
        "git sync of its own. Set without DBT_METRIC_REPO: something else syncs it.",
    )
    dbt_metric_subdir: str = _setting(
        ".", _subfolder, "The folder inside the repository that holds dbt_project.yml."
    )
    dbt_metric_poll_seconds: float = _setting(
        "10", _seconds, "Seconds between two looks at the repository."
    )
    dbt_profiles_dir: Path | None = _setting(
        None,
        _path,
        "The folder of your own profiles.yml. Unset: the embedded warehouse, whatever profile the "
        "project asks for.",
    )
    dbt_target: str | None = _setting(
        None,
        _target,
        "dbt's target. Unset: the profile's default; `prod` on the embedded warehouse.",
    )
    dbt_secrets_dir: Path | None = _setting(
        None,
        _path,
        "A folder of files named DBT_ENV_SECRET_…, for your own profiles.yml. See docs/secrets.md.",
    )
    notebook_secrets_dir: Path | None = _setting(
        None,
        _path,
        "A folder of files named NOTEBOOK_…, for what notebooks may know. See docs/secrets.md.",
    )
    daily_build_at: time = _setting("08:00", _clock, "When the daily build starts, local time.")
    daily_build_timezone: str = _setting(
        "Asia/Seoul",
        _zone,
        "The time zone of that clock, and of every time that people read, which names it.",
    )
    morning_build_over_by: time | None = _setting(
        None,
        _clock,
        "By when the daily build should be over, local time; if it is not, that is told. Unset: "
        "one hour after DAILY_BUILD_AT, so 09:00.",
    )
    alert_urls_file: Path | None = _setting(
        None,
        _path,
        "The file with the addresses that alerts go to, one a line. Unset: `secrets/alert-urls` "
        "in WORKSPACE_HOME. See docs/alerts.md.",
    )
    workspace_home: Path = _setting(
        str(CHECKOUT / ".workspace"), _path, "Where everything the workspace keeps lives."
    )
    workspace_database_url: str | None = _setting(
        None,
        _database_url,
        "PostgreSQL for Mage's metadata and the ledger (postgresql://…). Unset: embedded.",
    )
    workspace_database_url_file: Path | None = _setting(
        None,
        _path,
        "The file that holds WORKSPACE_DATABASE_URL, in its place. See docs/secrets.md.",
    )
    workspace_python: str = _setting(
        "python3", _text, "The Python (3.11 or 3.12) that both environments are made with."
    )
    mage_port: int = _setting("6789", _port, "Mage's port on 127.0.0.1.")
    mage_public_url: str | None = _setting(
        None,
        _web_address,
        "Where people reach Mage, for the links in alerts. Unset: Mage's port on 127.0.0.1.",
    )
    runner_port: int = _setting("4182", _port, "The runner's port on 127.0.0.1.")
    runner_parallel_runs: int = _setting(
        "3", _count, "How many runs may be running at once; more wait in line."
    )
    runner_queued_runs: int = _setting(
        "200",
        _count,
        "How many runs may wait in line; a request beyond them is refused, the morning's never.",
    )
    runner_warm_parents: int = _setting(
        "4",
        _count,
        "How many processes may keep dbt started for runs to come: one for the newest commit, one "
        "for each other commit or set of variables in use. A run beyond them starts dbt anew.",
    )
    runner_warm_memory_mb: int = _setting(
        "4000", _rate, "How many megabytes these processes may have together."
    )
    runner_dbt_shortcuts: bool = _setting(
        "true",
        _switch,
        "Whether functions of dbt are replaced by quicker ones (docs/dbt-patches.md). `false` when "
        "you suspect one: each run takes longer.",
    )
    ledger_keep_days: int = _setting(
        "730",
        _days,
        "Days after which finished runs, and the idempotency keys of their requests, are "
        "forgotten; 0 keeps them for ever.",
    )
    runner_calls_per_minute: int = _setting(
        "600", _rate, "How many calls of the runner's HTTP API one caller may make in a minute."
    )
    postgres_host: str = _setting(
        "127.0.0.1",
        _host,
        "Where the workspace's PostgreSQL is, for containers; `./scripts/start` has its own here.",
    )
    postgres_port: int = _setting("5439", _port, "The embedded PostgreSQL's port on 127.0.0.1.")
    login_required: bool = _setting(
        "false",
        _switch,
        "With true everybody comes through the proxy's login: Mage and the runner answer nobody "
        "else. Needs MAGE_PUBLIC_URL and at least one LOGIN_…_GROUPS. With false the workspace is "
        "for the one person whose machine it is on.",
    )
    login_viewer_groups: tuple[str, ...] = _setting(
        "",
        _names,
        "Groups of the identity provider, with commas between, whose members may look. A name that "
        "holds a comma stands in double quotes.",
    )
    login_analyst_groups: tuple[str, ...] = _setting(
        "", _names, "Groups whose members may also edit and run in Mage, and ask for runs."
    )
    login_operator_groups: tuple[str, ...] = _setting(
        "",
        _names,
        "Groups whose members may also ask for what is dangerous, as dbt's own `--full-refresh`.",
    )
    login_owner_groups: tuple[str, ...] = _setting(
        "", _names, "Groups whose members may also administer Mage."
    )
    login_provider: str | None = _setting(
        None,
        _provider,
        "With LOGIN_REQUIRED: the file in oauth2-proxy/people that scripts/start starts the "
        "proxies with, `oidc`, `keycloak`, `entra`, `google` or `github`. Unset: something else "
        "starts them. See docs/login.md.",
    )
    login_people_port: int = _setting(
        "4180", _port, "The people's proxy's port on 127.0.0.1, where scripts/start starts it."
    )
    login_machines_port: int = _setting(
        "4181", _port, "The machines' proxy's port on 127.0.0.1, where scripts/start starts it."
    )
    login_development_port: int = _setting(
        "4183", _port, "The development identity provider's port on 127.0.0.1 (--with-login)."
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
        """Reads the settings from `environ` and `file` (default: this process and checkout).

        Raises SettingError, which names the setting, for an unknown name or an unusable value.
        """
        environ = os.environ if environ is None else environ
        file = CHECKOUT / SETTINGS_FILE if file is None else file
        known = {one.name.upper(): one for one in fields(cls)}
        written = _read_file(file)
        for name in written:
            _refuse_unknown(name, known, str(file))
        for name in environ:
            if name.startswith(OUR_PREFIXES) and name not in INTERNAL_NAMES:
                _refuse_unknown(name, known, "the environment")
        values = {
            one.name: _value(name, one, environ.get(name) or written.get(name))
            for name, one in known.items()
        }
        if file := values["workspace_database_url_file"]:
            if values["workspace_database_url"]:
                raise SettingError(
                    "WORKSPACE_DATABASE_URL and WORKSPACE_DATABASE_URL_FILE are both set.",
                    "Set one of them.",
                )
            name = "WORKSPACE_DATABASE_URL"
            url = secret_values.read_file(file, f"{name}_FILE")
            values["workspace_database_url"] = _value(name, known[name], url)
        settings = cls(**values)
        if over_by := settings.morning_build_over_by:
            wrong = deadline.unfit(settings.daily_build_at, over_by)
            if wrong:
                raise SettingError(
                    f"MORNING_BUILD_OVER_BY={over_by:%H:%M} cannot be used: {wrong}."
                )
        settings._refuse_half_a_login()
        return settings

    def _refuse_half_a_login(self) -> None:
        if not self.login_required:
            if self.login_provider:
                raise SettingError("LOGIN_PROVIDER is set, and LOGIN_REQUIRED is not true.")
            return
        if self.mage_public_url is None:
            raise SettingError(
                "LOGIN_REQUIRED=true needs MAGE_PUBLIC_URL, the address that people type.",
                "A call for another host or from another page is refused.",
            )
        if not (
            *self.login_viewer_groups,
            *self.login_analyst_groups,
            *self.login_operator_groups,
            *self.login_owner_groups,
        ):
            raise SettingError(
                "LOGIN_REQUIRED=true would let nobody in: every LOGIN_…_GROUPS is empty.",
                "Set LOGIN_ANALYST_GROUPS to a group of your identity provider, for example.",
            )
        if self.login_provider and not self.mage_public_url.startswith("https://"):
            raise SettingError(
                f"With LOGIN_PROVIDER people come over HTTPS, and MAGE_PUBLIC_URL is "
                f"{self.mage_public_url}.",
                "Browsers keep the session's cookie over HTTPS alone. To try a login on this "
                "machine: ./scripts/start --with-login.",
            )

    @property
    def public_host(self) -> str:
        """Host, and port unless it is the scheme's own, as a browser sends them."""
        parts = urlsplit(self.mage_address)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        usual = {"http": 80, "https": 443}[parts.scheme]
        return f"{host}:{parts.port}" if parts.port and parts.port != usual else host

    @property
    def public_origin(self) -> str:
        """What a browser sends as Origin from our own pages."""
        return f"{urlsplit(self.mage_address).scheme}://{self.public_host}"

    @property
    def mage_address(self) -> str:
        """Where people reach Mage, without a slash at the end."""
        return self.mage_public_url or f"http://127.0.0.1:{self.mage_port}"

    def as_environment(self) -> dict[str, str]:
        """The settings as a process started by the workspace finds them; unset ones are absent."""
        values = {one.name.upper(): getattr(self, one.name) for one in fields(self)}
        if self.workspace_database_url_file:
            del values["WORKSPACE_DATABASE_URL"]  # it stays in its file
        return {name: _written(value) for name, value in values.items() if value is not None}


def meanings() -> dict[str, tuple[str, str]]:
    """Every setting's name with its default (empty when unset) and its meaning, for the docs."""
    return {
        one.name.upper(): (one.metadata["default"] or "", one.metadata["meaning"])
        for one in fields(Settings)
    }


def _written(value: object) -> str:
    """A setting's value as one writes it."""
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, tuple):
        written = io.StringIO()
        csv.writer(written, lineterminator="").writerow(value)
        return written.getvalue()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_file(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    found = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"\w+", name.strip()):
            # Without the line: what is missing may be the = before a password.
            raise SettingError(f"{file}, line {number}, is not NAME=value.")
        found[name.strip()] = value.strip().strip("'\"")
    return found


def _refuse_unknown(name: str, known: Mapping[str, Field[Any]], where: str) -> None:
    if name not in known:
        raise SettingError(
            f"Unknown setting {name} in {where}.",
            did_you_mean(name, known) or "docs/settings.md lists them all.",
        )


def _value(name: str, one: Field[Any], text: str | None) -> Any:
    text = text or one.metadata["default"]
    if text is None:
        return None
    try:
        return one.metadata["parse"](text)
    except ValueError as error:
        raise SettingError(f"{name}{_shown(one, text)} cannot be used: {error}.") from None


def _shown(one: Field[Any], text: str) -> str:
    """A value that is refused, without what may be secret in it: it may stand anywhere in one that
    is no right URL."""
    parse = one.metadata["parse"]
    if parse is _database_url:
        return ""
    if parse not in (_repository, _web_address):
        return f"={text}"
    _, user, rest = text.rpartition("@")
    return f"={'…@' if user else ''}{re.split('[?#]', rest)[0]}"
