"""The folders and files of a workspace, all under WORKSPACE_HOME."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

# sun_path holds 108 bytes on Linux and 104 on macOS, its closing NUL included.
LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True)
class Home:
    """The layout of one WORKSPACE_HOME. Only this class spells these names."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Home:
        """The workspace of a run's folder, a commit's, or a fork server's."""
        return cls(folder.parent.parent)

    @property
    def environments(self) -> Path:
        """Python environments: `tools` (uv), `dbt` (dbt and the runner), `mage`."""
        return self.root / "env"

    @property
    def secrets(self) -> Path:
        """Mode 0700; a file for each secret, mode 0600, without a newline at its end."""
        return self.root / "secrets"

    @property
    def api_token(self) -> Path:
        return self.secrets / "api-token"

    @property
    def page_languages(self) -> Path:
        """The language that each person who signs in has chosen for the page (JSON)."""
        return self.root / "page-languages.json"

    @property
    def mage_trigger_token(self) -> Path:
        """The token of Mage's API triggers for our pipelines."""
        return self.secrets / "mage-trigger-token"

    @property
    def proxy_people_secret(self) -> Path:
        """The people's proxy sends it with each call: only then the runner trusts its headers."""
        return self.secrets / "proxy-people"

    @property
    def proxy_machines_secret(self) -> Path:
        """The same for the machines' proxy. Neither proxy can pass for the other."""
        return self.secrets / "proxy-machines"

    @property
    def runner_to_mage_secret(self) -> Path:
        """The runner sends it with each call to Mage, which trusts nobody else."""
        return self.secrets / "runner-to-mage"

    @property
    def mage_jwt_secret(self) -> Path:
        """Mage signs its own tokens with it; nothing trusts them."""
        return self.secrets / "mage-jwt"

    @property
    def people_cookie_secret(self) -> Path:
        """The people's proxy encrypts its session cookies with it. A new one ends all sessions."""
        return self.secrets / "cookie-people"

    @property
    def machines_cookie_secret(self) -> Path:
        """The machines' proxy needs one to start; it sets no cookie."""
        return self.secrets / "cookie-machines"

    @property
    def identity_client_secret(self) -> Path:
        """The client secret of the people's proxy at the identity provider."""
        return self.secrets / "identity-client-secret"

    @property
    def development_bot_secret(self) -> Path:
        """The secret of the client that gets JWTs from the development identity provider."""
        return self.secrets / "development-bot"

    @property
    def development_provider(self) -> Path:
        """The development identity provider's files: people and keys."""
        return self.root / "identity-provider"

    @property
    def alert_urls(self) -> Path:
        """The addresses that alerts go to, one per line, written by people. ALERT_URLS_FILE may
        name another file."""
        return self.secrets / "alert-urls"

    @property
    def postgres(self) -> Path:
        """The embedded PostgreSQL's data directory."""
        return self.root / "postgres"

    @property
    def demo_repository(self) -> Path:
        """The demo dbt-metric as a git repository: the default of DBT_METRIC_REPO."""
        return self.root / "demo-repository"

    @property
    def sync(self) -> Path:
        """git-sync's folder: `current` is a link to `.worktrees/<sha>`."""
        return self.root / "dbt-metric"

    @property
    def commits(self) -> Path:
        """A read-only folder for each commit, with its packages and its parsed manifest."""
        return self.root / "commits"

    @property
    def packages(self) -> Path:
        """dbt packages as `dbt deps` fetched them, a folder for each set of pins."""
        return self.root / "packages"

    @property
    def runs(self) -> Path:
        """A folder for each run: dbt's target and log, and the events that the worker wrote."""
        return self.root / "runs"

    @property
    def warm(self) -> Path:
        """What fork servers write when they parse, until they end."""
        return self.root / "warm"

    @property
    def mage_project(self) -> Path:
        """The Mage project that people work in, made from `mage_project/`. Mage shows its name."""
        return self.root / "mage" / "dbt-metric"

    @property
    def mage_schedule(self) -> Path:
        """The daily build's schedule as the runner last wrote it into Mage's trigger (JSON)."""
        return self.mage_project / ".daily-build.json"

    @property
    def mage_data(self) -> Path:
        """Mage's own files: block outputs, logs, caches."""
        return self.root / "mage" / "data"

    @property
    def logs(self) -> Path:
        """A log file for each process."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """`scripts/start` holds it (flock) while it runs this workspace."""
        return self.root / "start.lock"

    @property
    def processes(self) -> Path:
        """The state of each process, as the running start last wrote it (JSON)."""
        return self.root / "processes.json"

    @property
    def runner_socket(self) -> Path:
        """The runner listens here for Mage's blocks and the command-line tool."""
        return self._socket("mage", "runner.sock")

    @property
    def people_socket(self) -> Path:
        """The runner listens here for the people's proxy."""
        return self._socket("people", "runner.sock")

    @property
    def people_mage_socket(self) -> Path:
        """The runner listens here for the people's proxy's calls that are for Mage."""
        return self._socket("people", "mage.sock")

    @property
    def machines_socket(self) -> Path:
        """The runner listens here for the machines' proxy."""
        return self._socket("machines", "runner.sock")

    def _socket(self, door: str, name: str) -> Path:
        """A socket in a folder for each entrance, so that each can be shared without the others.

        Where WORKSPACE_HOME is too deep for a socket's path, the folder is a short private one.
        """
        path = self.root / "doors" / door / name
        if len(str(path).encode()) <= LONGEST_SOCKET_PATH:
            return path
        short = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mage-dbt-{short}" / door / name
