"""Where everything a workspace keeps lives: the folders and files under WORKSPACE_HOME."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True)
class Home:
    """The layout of one WORKSPACE_HOME. Nothing else in the package spells these names."""

    root: Path

    @property
    def environments(self) -> Path:
        """Python environments: `tools` (uv), `dbt` (dbt and the runner), `mage`."""
        return self.root / "env"

    @property
    def secrets(self) -> Path:
        """Mode 0700; one file a secret, mode 0600, no newline at the end."""
        return self.root / "secrets"

    @property
    def api_token(self) -> Path:
        return self.secrets / "api-token"

    @property
    def mage_trigger_token(self) -> Path:
        """What Mage asks of those who start our pipelines through its API triggers."""
        return self.secrets / "mage-trigger-token"

    @property
    def proxy_people_secret(self) -> Path:
        """What the people's proxy sends along, so that its headers are believed."""
        return self.secrets / "proxy-people"

    @property
    def proxy_machines_secret(self) -> Path:
        """The same of the machines' proxy: one does not open the other's door."""
        return self.secrets / "proxy-machines"

    @property
    def runner_to_mage_secret(self) -> Path:
        """What the runner sends along to Mage, which believes nobody else."""
        return self.secrets / "runner-to-mage"

    @property
    def mage_jwt_secret(self) -> Path:
        """What Mage signs its own tokens with; nothing believes them."""
        return self.secrets / "mage-jwt"

    @property
    def people_cookie_secret(self) -> Path:
        """What the people's proxy encrypts its session cookies with; another one ends them all."""
        return self.secrets / "cookie-people"

    @property
    def machines_cookie_secret(self) -> Path:
        """The machines' proxy must be given one; it gives out no cookie."""
        return self.secrets / "cookie-machines"

    @property
    def identity_client_secret(self) -> Path:
        """The people's proxy's own secret at the identity provider."""
        return self.secrets / "identity-client-secret"

    @property
    def development_bot_secret(self) -> Path:
        """With it a program gets JWTs from the development identity provider."""
        return self.secrets / "development-bot"

    @property
    def development_provider(self) -> Path:
        """The development identity provider's files: its people, its keys."""
        return self.root / "identity-provider"

    @property
    def alert_urls(self) -> Path:
        """Where alerts go: one address a line, written by people; ALERT_URLS_FILE names another."""
        return self.secrets / "alert-urls"

    @property
    def postgres(self) -> Path:
        """The embedded PostgreSQL's data directory."""
        return self.root / "postgres"

    @property
    def demo_repository(self) -> Path:
        """The demo dbt-metric as a git repository; what DBT_METRIC_REPO is when unset."""
        return self.root / "demo-repository"

    @property
    def sync(self) -> Path:
        """git-sync's folder: `current` is a link to `.worktrees/<sha>`."""
        return self.root / "dbt-metric"

    @property
    def commits(self) -> Path:
        """One read-only folder a commit, with its packages and its parsed manifest."""
        return self.root / "commits"

    @property
    def packages(self) -> Path:
        """dbt packages as `dbt deps` brought them, one folder a set of pins."""
        return self.root / "packages"

    @property
    def runs(self) -> Path:
        """One folder a run: dbt's target and log, and the events the worker wrote."""
        return self.root / "runs"

    @property
    def warm(self) -> Path:
        """What warm parents write when they parse, until they end."""
        return self.root / "warm"

    @property
    def mage_project(self) -> Path:
        """The Mage project people work in, made from `mage_project/`. Mage shows its name."""
        return self.root / "mage" / "dbt-metric"

    @property
    def mage_data(self) -> Path:
        """Mage's own files: block outputs, logs, caches."""
        return self.root / "mage" / "data"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one `scripts/start` that runs this workspace."""
        return self.root / "start.lock"

    @property
    def processes(self) -> Path:
        """What the running start last wrote of each of its processes (JSON)."""
        return self.root / "processes.json"

    @property
    def runner_socket(self) -> Path:
        """Where the runner listens for Mage's blocks and the command-line tool."""
        return self._socket("mage", "runner.sock")

    @property
    def people_socket(self) -> Path:
        """Where the runner listens for the people's proxy."""
        return self._socket("people", "runner.sock")

    @property
    def people_mage_socket(self) -> Path:
        """Where the runner takes the people's proxy's calls that are for Mage."""
        return self._socket("people", "mage.sock")

    @property
    def machines_socket(self) -> Path:
        """Where the runner listens for the machines' proxy."""
        return self._socket("machines", "runner.sock")

    def _socket(self, door: str, name: str) -> Path:
        """In a folder a door, so that one can be shared without the others; in a short private
        folder when WORKSPACE_HOME is too deep for a socket's path."""
        path = self.root / "doors" / door / name
        if len(str(path).encode()) <= LONGEST_SOCKET_PATH:
            return path
        short = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mage-dbt-{short}" / door / name
