"""The workspace's programs: command, environment and probe of each.

No command line holds a secret. The environment of each is small: what any program needs, the
settings, and the program's own secrets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from mage_dbt.base.database_url import for_mage, with_schema
from mage_dbt.home import Home
from mage_dbt.launcher.environments import MAGE, python_of
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.launcher.supervisor import Liveness, Program
from mage_dbt.mage import process
from mage_dbt.settings import Settings

ANSWER_SECONDS = 5.0

MAGE_SILENCE = 120.0
"""Seconds without any answer after which Mage counts as hanging. A page with a large output keeps
its only thread busy for tens of seconds."""

# Without LC_ALL: in the plain C locale Python cannot read the path that this package is installed
# from, when that is not ASCII. Without it Python chooses C.UTF-8.
PLAIN = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
)

FOR_GIT = ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL")
"""For git-sync, which fetches the repository, and the runner, which fetches dbt packages."""


@dataclass(frozen=True)
class Databases:
    """How the programs reach their databases."""

    mage: str = field(repr=False)
    """URL of Mage's metadata, with the password."""
    ledger: str = field(repr=False)
    """URL of the runner's ledger, with the password."""
    warehouse: Mapping[str, str]
    """Variables for dbt/profiles/profiles.yml; empty with profiles of the team's own."""
    notebooks: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables for the notebooks' io_config.yaml; empty with profiles of the team's own."""


def runner(settings: Settings, home: Home, databases: Databases) -> Program:
    """The runner: plans, runs and the ledger. Only it can write to the warehouse."""
    environment = _environment(settings, *FOR_GIT) | {
        "WORKSPACE_DATABASE_URL": databases.ledger,
        "RUNNER_SOCKET": str(home.runner_socket),
        **databases.warehouse,
    }
    if settings.dbt_profiles_dir:
        # The team's profiles.yml may read any variable of dbt's.
        theirs = {name: value for name, value in os.environ.items() if name.startswith("DBT_")}
        environment = theirs | environment
    return Program(
        name="runner",
        launch=Launch([sys.executable, "-m", "mage_dbt.server"], str(home.root), grace=5.0),
        environment=environment,
        probe=lambda: answers(
            "http://runner/ping", httpx.HTTPTransport(uds=str(home.runner_socket), verify=False)
        ),
    )


def git_sync(settings: Settings, home: Home) -> Program:
    """The stand-in for git-sync. It counts as up after its first poll, whatever that found."""
    folder = settings.dbt_metric_dir or home.sync
    status = folder / "status.json"
    status.unlink(missing_ok=True)  # an earlier start's
    return Program(
        name="git-sync",
        launch=Launch(
            [sys.executable, "-m", "mage_dbt.commits.git_sync"], str(home.root), grace=2.0
        ),
        environment=_environment(settings, *FOR_GIT),
        probe=lambda: "" if status.exists() else "it is looking at the repository",
        patience=1800.0,
    )


def mage(settings: Settings, home: Home, databases: Databases) -> Program:
    """Mage: UI and scheduler. It has nothing to write to the warehouse with."""
    python = python_of(home, MAGE)
    # For notification_config in Mage's own metadata.yaml; see docs/alerts.md.
    alerts = {name: value for name, value in os.environ.items() if name.startswith("MAGE_ALERT_")}
    environment = _environment(settings) | alerts | dict(databases.notebooks)
    environment |= process.environment(settings, home, databases.mage)
    return Program(
        name="mage",
        launch=Launch(
            process.command(python, settings, home), str(home.mage_data.parent), grace=3.0
        ),
        environment=environment,
        probe=lambda: process.problem(settings, home),
        patience=180.0,
        liveness=Liveness(lambda seconds: process.answers(settings, home, seconds), MAGE_SILENCE),
    )


def given_databases(
    url: str, warehouse: Mapping[str, str], notebooks: Mapping[str, str] | None = None
) -> Databases:
    """Mage and ledger in the database of WORKSPACE_DATABASE_URL, each in its own schema."""
    mage_in = for_mage(with_schema(url, "mage"))
    return Databases(mage_in, with_schema(url, "ledger"), warehouse, notebooks or {})


def _environment(settings: Settings, *more: str) -> dict[str, str]:
    given = settings.as_environment()
    # It may hold a password. The two programs that need it get their own URL.
    for name in ("WORKSPACE_DATABASE_URL", "WORKSPACE_DATABASE_URL_FILE"):
        given.pop(name, None)
    return {
        **{name: os.environ[name] for name in (*PLAIN, *more) if name in os.environ},
        **given,
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }


def answers(url: str, transport: httpx.BaseTransport | None = None) -> str:
    """Empty when `url` answers 200, else what it does instead."""
    try:
        # No TLS on this machine's own addresses: reading the system's certificates takes 18 ms.
        with httpx.Client(
            transport=transport, timeout=ANSWER_SECONDS, verify=False, trust_env=False
        ) as client:
            status = client.get(url).status_code
    except httpx.HTTPError as error:
        return f"{url}: {error}"
    return "" if status == 200 else f"{url} answers {status}"
