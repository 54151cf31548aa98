"""Which profiles.yml, profile and target dbt is given.

With DBT_PROFILES_DIR it is the team's own file and the profile dbt_project.yml asks for. Without
it, whatever the project asks for, dbt is given the profile `embedded` of
`dbt/profiles/profiles.yml`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings

EMBEDDED = "embedded"
EMBEDDED_TARGET = "prod"


@dataclass(frozen=True)
class Profile:
    """A folder with profiles.yml, and what of it to use."""

    folder: Path
    name: str | None
    """The profile to force; None: the one dbt_project.yml asks for."""
    target: str | None
    """The target to force; None: the profile's own default."""

    @classmethod
    def of(cls, settings: Settings, home: Home) -> Profile:
        """Raises SettingError when DBT_PROFILES_DIR holds no profiles.yml."""
        if settings.dbt_profiles_dir is None:
            target = settings.dbt_target or EMBEDDED_TARGET
            return cls(_write_embedded(home.root / "profiles", target), EMBEDDED, target)
        if not (settings.dbt_profiles_dir / "profiles.yml").is_file():
            raise SettingError(
                f"DBT_PROFILES_DIR={settings.dbt_profiles_dir} holds no profiles.yml.",
                "Name the folder, not the file.",
            )
        return cls(settings.dbt_profiles_dir, None, settings.dbt_target)

    def for_project(self, project: Path) -> tuple[str, ...]:
        """dbt's flags for the project in this folder; see `Key`."""
        return ("--project-dir", str(project), *self.arguments())

    def arguments(self) -> tuple[str, ...]:
        """As dbt's flags."""
        flags: tuple[str, ...] = ("--profiles-dir", str(self.folder))
        if self.name:
            flags += ("--profile", self.name)
        if self.target:
            flags += ("--target", self.target)
        return flags

    def fingerprint(self) -> str:
        """Changes when a commit must be parsed again because the profile changed (hex)."""
        content = (self.folder / "profiles.yml").read_bytes()
        return hashlib.sha256(content + repr((self.name, self.target)).encode()).hexdigest()


def _write_embedded(folder: Path, target: str) -> Path:
    """The embedded warehouse's profile, its one output under the name of `target`."""
    written = yaml.safe_load((CHECKOUT / "dbt" / "profiles" / "profiles.yml").read_text())
    output = written[EMBEDDED]["outputs"][EMBEDDED_TARGET]
    profiles = {EMBEDDED: {"target": target, "outputs": {target: output}}}
    text = yaml.safe_dump(profiles, sort_keys=False)
    file = folder / "profiles.yml"
    if not file.exists() or file.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
