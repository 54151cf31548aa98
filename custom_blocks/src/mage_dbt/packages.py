"""dbt packages of a commit: brought once, kept by what was pinned, never fetched by a run.

`dbt deps` runs when a commit is made ready, unless its packages are pinned by a package-lock.yml
and were brought before. When it cannot reach a source, packages that the same files brought before
are used, and the commit says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mage_dbt import yaml_file

DECLARED_IN = ("packages.yml", "dependencies.yml")
LOCK_FILE = "package-lock.yml"

FORM = b"2"
"""Of what the store holds; what another form has kept is not taken (the first kept what a killed
`dbt deps` had left)."""


@dataclass(frozen=True)
class Packages:
    """What one project declares, and where this workspace keeps it."""

    project: Path
    store: Path
    """The folder of all kept packages."""

    @property
    def declared(self) -> tuple[str, ...]:
        """Each declared package as a person would name it: `dbt-labs/dbt_utils 1.3.0`.

        Raises CommitBroken when a file that declares them cannot be read.
        """
        found: list[str] = []
        for name in DECLARED_IN:
            found += [
                _describe(one) for one in yaml_file.read(self.project / name).get("packages") or ()
            ]
        return tuple(found)

    @property
    def needed(self) -> bool:
        return bool(self.declared)

    @property
    def pinned(self) -> bool:
        return (self.project / LOCK_FILE).is_file()

    @property
    def installed(self) -> Path:
        """The folder dbt installs them into."""
        content = yaml_file.read(self.project / "dbt_project.yml")
        return self.project / str(content.get("packages-install-path", "dbt_packages"))

    @property
    def key(self) -> str:
        """The same for the same declarations and pins (hex)."""
        digest = hashlib.sha256(FORM)
        for name in (*DECLARED_IN, LOCK_FILE):
            file = self.project / name
            digest.update(name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b""))
        return digest.hexdigest()[:32]

    def kept(self, key: str) -> bool:
        return (self.store / key).is_dir()

    def keep(self, key: str) -> None:
        """Copies what `dbt deps` brought into the store; local packages stay links."""
        _make_links_relative(self.installed)
        aside = self.store / f"{key}.new"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(self.installed, aside, symlinks=True)
        shutil.rmtree(self.store / key, ignore_errors=True)
        aside.rename(self.store / key)

    def take(self, key: str) -> None:
        """Puts the kept packages into the project."""
        shutil.rmtree(self.installed, ignore_errors=True)
        shutil.copytree(self.store / key, self.installed, symlinks=True)


def _describe(declared: Any) -> str:
    if not isinstance(declared, dict):
        return str(declared)
    for kind in ("package", "git", "local", "tarball", "private"):
        if kind in declared:
            wanted = declared.get("version") or declared.get("revision") or ""
            return f"{declared[kind]} {wanted}".strip()
    return str(declared)


def _make_links_relative(folder: Path) -> None:
    """dbt links a local package by its absolute path, which another commit's copy must not keep."""
    for one in folder.iterdir():
        if one.is_symlink():
            aim = os.path.relpath(one.resolve(), folder)
            one.unlink()
            one.symlink_to(aim)
