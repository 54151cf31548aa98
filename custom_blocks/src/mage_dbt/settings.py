"""The workspace's settings: name, default, parser and meaning of each.

A setting comes from the environment, else from the file `workspace.env` at the top of the checkout
(`NAME=value` lines, `#` comments). An unknown name is refused: the default never takes the place of
a misspelt setting. `docs/settings.md` lists them all, and a test compares it with this file. Only
the standard library is used here: this runs before anything is installed.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mage_dbt.base import secret_values
from mage_dbt.base import setting_values as parse
from mage_dbt.base.redaction import shown_url
from mage_dbt.base.tool_command import DEFAULT as TOOL
from mage_dbt.errors import SettingError, did_you_mean
from mage_dbt.model import deadline

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).resolve().parents[3]
"""The top of the checkout this package was started from."""

SETTINGS_FILE = "workspace.env"

OUR_PREFIXES = (
    *("DBT_METRIC_", "DAILY_BUILD_", "WORKSPACE_", "RUNNER_"),
    *("MORNING_BUILD_", "ALERT_URLS_", "LOGIN_", "FAILING_ROWS"),
)
"""Prefixes that only our settings have: an unknown variable with one of them is refused."""

RENAMED = {
    "MORNING_BUILD_OVER_BY": "DAILY_BUILD_OVER_BY",
    "RUNNER_WARM_PARENTS": "RUNNER_FORK_SERVERS",
    "RUNNER_WARM_MEMORY_MB": "RUNNER_FORK_SERVER_MEMORY_MB",
}
"""Earlier name of a setting to its name. Version 0.2 accepts both; remove them after it."""

INTERNAL_NAMES = ("WORKSPACE_INSTANCE", "RUNNER_SOCKET")
"""Set by the workspace for its own processes, not by people."""


def _setting(default: str | None, parser: Callable[[str], Any], meaning: str) -> Any:
    return field(metadata={"default": default, "parser": parser, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """The parsed settings of one workspace. Field `mage_port` is the setting `MAGE_PORT`."""

    dbt_metric_repo: str | None = _setting(
        None, parse.repository, "Your dbt repository: a path or a git URL. Unset: the demo."
    )
    dbt_metric_ref: str = _setting("main", parse.git_ref, "The branch or tag that is live.")
    dbt_metric_dir: Path | None = _setting(
        None,
        parse.path,
        "The folder in which git-sync keeps its `current` link. Unset: the workspace runs a small "
        "git sync of its own. Set without DBT_METRIC_REPO: something else syncs it.",
    )
    dbt_metric_subdir: str = _setting(
        ".", parse.subfolder, "The folder inside the repository that holds dbt_project.yml."
    )
    dbt_metric_poll_seconds: float = _setting(
        "10", parse.seconds, "Seconds between two looks at the repository."
    )
    dbt_profiles_dir: Path | None = _setting(
        None,
        parse.path,
        "The folder of your own profiles.yml. Unset: the embedded warehouse, whatever profile the "
        "project asks for.",
    )
    dbt_target: str | None = _setting(
        None,
        parse.target,
        "dbt's target. Unset: the profile's default; `prod` on the embedded warehouse.",
    )
    dbt_secrets_dir: Path | None = _setting(
        None,
        parse.path,
        "A folder of files named DBT_ENV_SECRET_…, for your own profiles.yml. See docs/secrets.md.",
    )
    notebook_secrets_dir: Path | None = _setting(
        None,
        parse.path,
        "A folder of files named NOTEBOOK_…, for what notebooks may know. See docs/secrets.md.",
    )
    daily_build_at: time = _setting(
        "08:00",
        parse.clock,
        "When the daily build starts, local time, until somebody sets another time on the page "
        "Settings.",
    )
    daily_build_timezone: str = _setting(
        "Asia/Seoul",
        parse.zone,
        "The time zone of that clock, and of every time that people read, which names it.",
    )
    daily_build_over_by: time | None = _setting(
        None,
        parse.clock,
        "By when the daily build should be over, local time; if it is not, that is told. Unset: "
        "one hour after the build's time, so 09:00.",
    )
    alert_urls_file: Path | None = _setting(
        None,
        parse.path,
        "The file with the addresses that alerts go to, one a line. Unset: `secrets/alert-urls` "
        "in WORKSPACE_HOME. See docs/alerts.md.",
    )
    workspace_home: Path = _setting(
        str(CHECKOUT / ".workspace"), parse.path, "Where everything the workspace keeps lives."
    )
    workspace_database_url: str | None = _setting(
        None,
        parse.database_url,
        "PostgreSQL for Mage's metadata and the ledger (postgresql://…). Unset: embedded.",
    )
    workspace_database_url_file: Path | None = _setting(
        None,
        parse.path,
        "The file that holds WORKSPACE_DATABASE_URL, in its place. See docs/secrets.md.",
    )
    workspace_python: str = _setting(
        "python3", parse.text, "The Python (3.11 or 3.12) that both environments are made with."
    )
    tool_command: str = _setting(
        TOOL,
        parse.command,
        "How people call the command-line tool of this workspace; alerts and hints spell it so.",
    )
    mage_port: int = _setting("6789", parse.port, "Mage's port on 127.0.0.1.")
    mage_public_url: str | None = _setting(
        None,
        parse.web_address,
        "Where people reach Mage and, with a login, the page under /runner/; links begin so. "
        "Unset: Mage's port on 127.0.0.1.",
    )
    runner_port: int = _setting(
        "4182", parse.port, "The runner's port on 127.0.0.1. Without a login the page is there."
    )
    runner_parallel_runs: int = _setting(
        "3", parse.count, "How many runs may be running at once; more wait in the queue."
    )
    runner_queued_runs: int = _setting(
        "200",
        parse.count,
        "How many runs may wait in the queue; further requests are refused, the daily build's "
        "never.",
    )
    runner_fork_servers: int = _setting(
        "4",
        parse.count,
        "How many processes may keep dbt started for runs to come: one for the newest commit, one "
        "for each other commit or set of variables in use. A run beyond them starts dbt anew.",
    )
    runner_fork_server_memory_mb: int = _setting(
        "4000", parse.rate, "How many megabytes these processes may have together."
    )
    runner_dbt_shortcuts: bool = _setting(
        "true",
        parse.switch,
        "Whether functions of dbt are replaced by quicker ones (docs/dbt-patches.md). `false` when "
        "you suspect one: each run takes longer.",
    )
    ledger_keep_days: int = _setting(
        "730",
        parse.days,
        "Days after which finished runs, and the idempotency keys of their requests, are "
        "forgotten; 0 keeps them for ever.",
    )
    refresh_keep_days: int = _setting(
        "7",
        parse.days,
        "Days for which the table that a full refresh replaced is kept, so that the refresh can be "
        "undone. The first daily build after them drops it. See docs/full-refresh.md.",
    )
    refresh_rows_percent: parse.Percent = _setting(
        "95-200",
        parse.percent,
        "The fewest and the most rows that a refreshed table may have, in percent of those it has "
        "now. Outside of it the refresh stops, and nothing has changed.",
    )
    refresh_hold_minutes: int = _setting(
        "60",
        parse.count,
        "Minutes that a refresh with `show_first` waits for somebody's decision. Then it is "
        "dropped, and nothing has changed.",
    )
    refresh_snapshot_seconds: int = _setting(
        "300",
        parse.whole_seconds,
        "Seconds that a refresh waits for transactions that began before its rows were there: they "
        "would see none of them. Then it stops, and nothing has changed.",
    )
    refresh_lock_seconds: int = _setting(
        "300",
        parse.whole_seconds,
        "Seconds that a refresh tries to lock its tables for the swap, less than a second at a "
        "time. Then it stops, and nothing has changed.",
    )
    refresh_compare_seconds: int = _setting(
        "120",
        parse.whole_seconds,
        "Seconds that the comparison of one table with its refreshed rows may take, before a "
        "sample is compared instead; 0 compares nothing.",
    )
    restore_dropped_views: bool = _setting(
        "true",
        parse.switch,
        "Whether a run puts back, with their grants, the views that dbt dropped along with a table "
        "or view that it rebuilt, where they still fit. See docs/dropped-views.md.",
    )
    failing_rows: int = _setting(
        "10",
        parse.rows,
        "How many rows of each failing test are kept with the run, at most 100; 0 keeps none. See "
        "docs/why-it-failed.md.",
    )
    failing_rows_role: str | None = _setting(
        None,
        parse.text,
        "The role of the warehouse that reads these rows, which the profile's user must be a "
        "member of. Unset: the profile's own, in a read-only transaction.",
    )
    runner_calls_per_minute: int = _setting(
        "600",
        parse.rate,
        "How many calls of the runner's HTTP API one caller may make in a minute.",
    )
    postgres_host: str = _setting(
        "127.0.0.1",
        parse.host,
        "Where the workspace's PostgreSQL is, for containers; `./scripts/start` has its own here.",
    )
    postgres_port: int = _setting(
        "5439", parse.port, "The embedded PostgreSQL's port on 127.0.0.1."
    )
    login_required: bool = _setting(
        "false",
        parse.switch,
        "With true everybody comes through the proxy's login: Mage and the runner answer nobody "
        "else. Needs MAGE_PUBLIC_URL and at least one LOGIN_…_GROUPS. With false the workspace is "
        "for the one person whose machine it is on.",
    )
    login_viewer_groups: tuple[str, ...] = _setting(
        "",
        parse.names,
        "Groups of the identity provider, with commas between, whose members may look. A name that "
        "holds a comma stands in double quotes.",
    )
    login_analyst_groups: tuple[str, ...] = _setting(
        "", parse.names, "Groups whose members may also edit and run in Mage, and ask for runs."
    )
    login_operator_groups: tuple[str, ...] = _setting(
        "",
        parse.names,
        "Groups whose members may also ask for what is dangerous, as dbt's own `--full-refresh`.",
    )
    login_owner_groups: tuple[str, ...] = _setting(
        "", parse.names, "Groups whose members may also administer Mage."
    )
    login_provider: str | None = _setting(
        None,
        parse.provider,
        "With LOGIN_REQUIRED: the file in oauth2-proxy/people that scripts/start starts the "
        "proxies with, `oidc`, `keycloak`, `entra`, `google` or `github`. Unset: something else "
        "starts them. See docs/login.md.",
    )
    login_people_port: int = _setting(
        "4180", parse.port, "The people's proxy's port on 127.0.0.1, where scripts/start starts it."
    )
    login_machines_port: int = _setting(
        "4181",
        parse.port,
        "The machines' proxy's port on 127.0.0.1, where scripts/start starts it.",
    )
    login_development_port: int = _setting(
        "4183", parse.port, "The development identity provider's port on 127.0.0.1 (--with-login)."
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
        """Reads the settings from `environ` and `file`, by default this process's and checkout's.

        Raises SettingError with the setting's name when it is unknown or its value unusable.
        """
        environ = os.environ if environ is None else environ
        file = CHECKOUT / SETTINGS_FILE if file is None else file
        known = {setting.name.upper(): setting for setting in fields(cls)}
        written = _under_new_names(_read_file(file), str(file))
        environ = _under_new_names(environ, "the environment")
        for name in written:
            _refuse_unknown(name, known, str(file))
        for name in environ:
            if name.startswith(OUR_PREFIXES) and name not in INTERNAL_NAMES:
                _refuse_unknown(name, known, "the environment")
        values = {
            setting.name: _value(name, setting, environ.get(name) or written.get(name))
            for name, setting in known.items()
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
        if over_by := settings.daily_build_over_by:
            wrong = deadline.unfit(settings.daily_build_at, over_by)
            if wrong:
                raise SettingError(f"DAILY_BUILD_OVER_BY={over_by:%H:%M} cannot be used: {wrong}.")
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
        """Host and port as a browser sends them: without the default port of the scheme."""
        parts = urlsplit(self.mage_address)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        usual = {"http": 80, "https": 443}[parts.scheme]
        return f"{host}:{parts.port}" if parts.port and parts.port != usual else host

    @property
    def public_origin(self) -> str:
        """The header Origin that a browser sends from our own pages."""
        return f"{urlsplit(self.mage_address).scheme}://{self.public_host}"

    @property
    def mage_address(self) -> str:
        """Where people reach Mage, without a slash at the end."""
        return self.mage_public_url or f"http://127.0.0.1:{self.mage_port}"

    @property
    def page_address(self) -> str:
        """Where people open the runner's page, without a slash at the end."""
        if self.login_required:
            return f"{self.mage_address}/runner"
        return f"http://127.0.0.1:{self.runner_port}"

    def as_environment(self) -> dict[str, str]:
        """The settings as environment variables for the workspace's own processes.

        Settings without a value are absent.
        """
        values = {setting.name.upper(): getattr(self, setting.name) for setting in fields(self)}
        if self.workspace_database_url_file:
            del values["WORKSPACE_DATABASE_URL"]  # it stays in its file
        return {name: _written(value) for name, value in values.items() if value is not None}


def meanings() -> dict[str, tuple[str, str]]:
    """By each setting's name its default (empty when there is none) and its meaning."""
    return {
        setting.name.upper(): (setting.metadata["default"] or "", setting.metadata["meaning"])
        for setting in fields(Settings)
    }


def _written(value: object) -> str:
    """A setting's value as it is written in the file."""
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, tuple) and not isinstance(value, parse.Percent):
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
            # The message is without the line: the missing = may be the one before a password.
            raise SettingError(f"{file}, line {number}, is not NAME=value.")
        found[name.strip()] = value.strip().strip("'\"")
    return found


def _under_new_names(given: Mapping[str, str], where: str) -> dict[str, str]:
    """The same values under their present names; warns of the earlier names in use."""
    found = dict(given)
    for earlier, name in RENAMED.items():
        value = found.pop(earlier, None)
        if value is not None and name not in found:
            found[name] = value
            log.warning(
                "%s in %s is now called %s. Rename it: the next version knows the new name alone.",
                *(earlier, where, name),
            )
    return found


def _refuse_unknown(name: str, known: Mapping[str, Field[Any]], where: str) -> None:
    if name not in known:
        raise SettingError(
            f"Unknown setting {name} in {where}.",
            did_you_mean(name, known) or "docs/settings.md lists them all.",
        )


def _value(name: str, setting: Field[Any], text: str | None) -> Any:
    text = text or setting.metadata["default"]
    if text is None:
        return None
    parser = setting.metadata["parser"]
    try:
        return parser(text)
    except ValueError as error:
        raise SettingError(f"{name}{_shown(parser, text)} cannot be used: {error}.") from None


def _shown(parser: Callable[[str], Any], text: str) -> str:
    """`=value` of a value that is refused, without what may be secret in it."""
    if parser is parse.database_url:
        return ""
    is_url = parser in (parse.repository, parse.web_address)
    return f"={shown_url(text) if is_url else text}"
