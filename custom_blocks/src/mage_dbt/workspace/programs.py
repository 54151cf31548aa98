"""The workspace's processes: their commands, and what each finds in its environment.

No secret stands on a command line. Each process gets a small environment: what any program needs,
the settings, and the secrets that are its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from mage_dbt.database_url import for_mage, with_schema
from mage_dbt.home import Home
from mage_dbt.mage import probe, process
from mage_dbt.settings import Settings
from mage_dbt.workspace.environments import MAGE, python_of
from mage_dbt.workspace.keeper import Order
from mage_dbt.workspace.supervisor import Liveness, Program

ANSWER_SECONDS = 5.0

MAGE_SILENCE = 120.0
"""Seconds without any answer after which Mage hangs: a page with a large output takes its only
thread for tens of seconds."""

# Without LC_ALL: in the plain C locale Python cannot read where this package is installed from when
# that path is not ASCII. Left alone, Python chooses C.UTF-8 by itself.
PLAIN = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
)

FOR_GIT = ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL")
"""git-sync fetches the repository; the runner, packages that come by git."""


@dataclass(frozen=True)
class Databases:
    """Where Mage keeps its metadata and the runner its ledger (with passwords), and what
    dbt/profiles/profiles.yml and the notebooks' io_config.yaml read of the embedded warehouse; both
    are empty with profiles of the team's own."""

    mage: str = field(repr=False)
    ledger: str = field(repr=False)
    warehouse: Mapping[str, str]
    notebooks: Mapping[str, str] = field(default_factory=dict, repr=False)


def runner(settings: Settings, home: Home, databases: Databases) -> Program:
    """Plans, runs, the ledger; the only one with write access to the warehouse."""
    environment = _environment(settings, *FOR_GIT) | {
        "WORKSPACE_DATABASE_URL": databases.ledger,
        "RUNNER_SOCKET": str(home.runner_socket),
        **databases.warehouse,
    }
    if settings.dbt_profiles_dir:
        # The team's profiles.yml may read any of these.
        theirs = {name: value for name, value in os.environ.items() if name.startswith("DBT_")}
        environment = theirs | environment
    return Program(
        name="runner",
        order=Order([sys.executable, "-m", "mage_dbt.runner"], str(home.root), grace=5.0),
        environment=environment,
        probe=lambda: answers(
            "http://runner/ping", httpx.HTTPTransport(uds=str(home.runner_socket), verify=False)
        ),
    )


def git_sync(settings: Settings, home: Home) -> Program:
    """The stand-in for git-sync; answers as soon as it has looked once, whatever it found."""
    folder = settings.dbt_metric_dir or home.sync
    status = folder / "status.json"
    status.unlink(missing_ok=True)  # an earlier start's
    return Program(
        name="git-sync",
        order=Order([sys.executable, "-m", "mage_dbt.gitsync"], str(home.root), grace=2.0),
        environment=_environment(settings, *FOR_GIT),
        probe=lambda: "" if status.exists() else "it is looking at the repository",
        patience=1800.0,
    )


def mage(settings: Settings, home: Home, databases: Databases) -> Program:
    """The UI and the scheduler; nothing here lets it write to the warehouse."""
    python = python_of(home, MAGE)
    # What notification_config in Mage's own metadata.yaml may read; see docs/alerts.md.
    alerts = {name: value for name, value in os.environ.items() if name.startswith("MAGE_ALERT_")}
    environment = _environment(settings) | alerts | dict(databases.notebooks)
    environment |= process.environment(settings, home, databases.mage)
    return Program(
        name="mage",
        order=Order(process.command(python, settings, home), str(home.mage_data.parent), grace=3.0),
        environment=environment,
        probe=lambda: probe.missing(settings, home),
        patience=180.0,
        liveness=Liveness(lambda seconds: probe.answers(settings, home, seconds), MAGE_SILENCE),
    )


def given_databases(
    url: str, warehouse: Mapping[str, str], notebooks: Mapping[str, str] | None = None
) -> Databases:
    """Both in the one database of WORKSPACE_DATABASE_URL, each in a schema of its own."""
    mage_in = for_mage(with_schema(url, "mage"))
    return Databases(mage_in, with_schema(url, "ledger"), warehouse, notebooks or {})


def _environment(settings: Settings, *more: str) -> dict[str, str]:
    given = settings.as_environment()
    # It may hold a password; the two processes it concerns get their own below.
    for name in ("WORKSPACE_DATABASE_URL", "WORKSPACE_DATABASE_URL_FILE"):
        given.pop(name, None)
    return {
        **{name: os.environ[name] for name in (*PLAIN, *more) if name in os.environ},
        **given,
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }


def answers(url: str, transport: httpx.BaseTransport | None = None) -> str:
    """Nothing when `url` answers 200, else what it does instead."""
    try:
        # No TLS on this machine's own addresses: reading the system's certificates takes 18 ms.
        with httpx.Client(
            transport=transport, timeout=ANSWER_SECONDS, verify=False, trust_env=False
        ) as client:
            status = client.get(url).status_code
    except httpx.HTTPError as error:
        return f"{url}: {error}"
    return "" if status == 200 else f"{url} answers {status}"
