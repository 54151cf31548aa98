"""The key of a parsed project: all that dbt's parse depends on; and the environment dbt gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mage_dbt.base import redaction, secret_values
from mage_dbt.base.git import ALLOWED_PROTOCOLS, LOCAL_AND_REMOTE, REMOTE, allowed_protocols
from mage_dbt.commits.profile import Profile
from mage_dbt.model.variables import to_yaml
from mage_dbt.settings import OUR_PREFIXES

SECRETS_FOLDER = "DBT_SECRETS_DIR"

SHORTCUTS = "RUNNER_DBT_SHORTCUTS"
"""The setting that is passed on to dbt's processes, where it is false (`dbt/patches`)."""


def shortcuts_wanted(environ: Mapping[str, str]) -> bool:
    return environ.get(SHORTCUTS) != "false"


NOT_FOR_DBT = (*OUR_PREFIXES, "MAGE_")
"""Prefixes of variables that dbt never gets: settings of ours, the ledger's URL among them."""


@dataclass(frozen=True)
class GraphKey:
    """All that a parse depends on: two jobs with the same key have the same manifest."""

    project: Path
    """The folder of one commit's export, which nothing changes."""
    dbt_arguments: tuple[str, ...]
    variables: str
    profiles: str
    environment: str

    @classmethod
    def of(
        cls,
        project: Path,
        dbt_arguments: tuple[str, ...],
        variables: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> GraphKey:
        """Profiles and environment become digests, so that no log shows them."""
        folder = Path(dbt_arguments[dbt_arguments.index("--profiles-dir") + 1])
        return cls(
            project=project,
            dbt_arguments=dbt_arguments,
            variables=to_yaml(variables),
            profiles=_digest((folder / "profiles.yml").read_bytes()),
            environment=_digest(json.dumps(sorted(environment.items())).encode()),
        )

    @classmethod
    def of_commit(
        cls,
        project: Path,
        profile: Profile,
        environment: Mapping[str, str],
        variables: Mapping[str, Any] | None = None,
    ) -> GraphKey:
        """The key of a commit's project with this profile."""
        return cls.of(project, profile.for_project(project), variables or {}, environment)

    @property
    def digest(self) -> str:
        """Equal for equal keys (hex)."""
        return _digest(repr(self).encode())

    def differs_outside(self, other: GraphKey) -> bool:
        """Whether only profile or environment differ: they have changed since."""
        return self != other and (self.project, self.dbt_arguments, self.variables) == (
            other.project,
            other.dbt_arguments,
            other.variables,
        )

    def outdated_by(self, newest: GraphKey) -> bool:
        """Whether commit, profile or environment differ from the newest commit's key."""
        return (self.project, self.profiles, self.environment) != (
            newest.project,
            newest.profiles,
            newest.environment,
        )


def dbt_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the runner's environment that a dbt process gets.

    Secrets are read here each time: a changed password takes effect with the next process.
    Raises SettingError when a secret cannot be read.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(NOT_FOR_DBT)}
    folder = kept.pop(SECRETS_FOLDER, "")
    given = secret_values.read(environ, secret_values.FOR_DBT, Path(folder) if folder else None)
    redaction.hide(*given.values())
    kept |= given
    if not shortcuts_wanted(environ):
        kept[SHORTCUTS] = "false"
    kept.setdefault(ALLOWED_PROTOCOLS, _protocols(environ))
    return kept | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _protocols(environ: Mapping[str, str]) -> str:
    """By which protocols git may fetch packages: as for git-sync, which fetches the repository."""
    if repository := environ.get("DBT_METRIC_REPO"):
        return allowed_protocols(repository)
    # Without either it is the demo's, a folder of this machine. Another program's is not known.
    return ":".join(REMOTE if environ.get("DBT_METRIC_DIR") else LOCAL_AND_REMOTE)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
