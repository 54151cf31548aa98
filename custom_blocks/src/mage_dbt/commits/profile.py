"""The profiles.yml, profile and target that dbt gets.

With DBT_PROFILES_DIR dbt gets the team's own file, and the profile that dbt_project.yml names.
Without it dbt gets the profile `embedded` of `dbt/profiles/profiles.yml`, whatever the project
names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from mage_dbt.base.files import replace_file
from mage_dbt.errors import SettingError
from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings

EMBEDDED = "embedded"
EMBEDDED_TARGET = "prod"


@dataclass(frozen=True)
class Profile:
    """A folder with profiles.yml, and which profile and target of it to use."""

    folder: Path
    name: str | None
    """The profile to force; None: the one that dbt_project.yml names."""
    target: str | None
    """The target to force; None: the profile's own default."""

    @classmethod
    def of(cls, settings: Settings, home: Home) -> Profile:
        """The workspace's profile. Raises SettingError where DBT_PROFILES_DIR has no profiles."""
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
        """dbt's flags for the project in this folder."""
        return ("--project-dir", str(project), *self.arguments())

    def arguments(self) -> tuple[str, ...]:
        """dbt's flags for the profile alone."""
        flags: tuple[str, ...] = ("--profiles-dir", str(self.folder))
        if self.name:
            flags += ("--profile", self.name)
        if self.target:
            flags += ("--target", self.target)
        return flags

    def fingerprint(self) -> str:
        """Changes whenever the profile changes, so that commits are parsed again (hex)."""
        content = (self.folder / "profiles.yml").read_bytes()
        return hashlib.sha256(content + repr((self.name, self.target)).encode()).hexdigest()


def _write_embedded(folder: Path, target: str) -> Path:
    """Writes the embedded warehouse's profile, its only output named `target`."""
    written = yaml.safe_load((CHECKOUT / "dbt" / "profiles" / "profiles.yml").read_text())
    output = written[EMBEDDED]["outputs"][EMBEDDED_TARGET]
    profiles = {EMBEDDED: {"target": target, "outputs": {target: output}}}
    text = yaml.safe_dump(profiles, sort_keys=False)
    file = folder / "profiles.yml"
    if not file.exists() or file.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, text)
    return folder
