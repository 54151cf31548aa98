"""The page's vendored files: fetched from npm's registry by `./scripts/lock`, and kept here.

So the page needs no build step, and nobody's browser asks another host. The list beside the files
names package, version, path in the package, licence, SHA-256 and the reason.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from mage_dbt.base.files import replace_file
from mage_dbt.errors import MachineError
from mage_dbt.settings import CHECKOUT

FOLDER = CHECKOUT / "custom_blocks" / "src" / "mage_dbt" / "server" / "pages" / "static" / "vendor"

LIST = FOLDER / "vendored.json"


def listed() -> list[dict[str, Any]]:
    """The entries of the list."""
    found: list[dict[str, Any]] = json.loads(LIST.read_text())
    return found


def fetch() -> None:
    """Writes every listed file anew, in the listed version, and its SHA-256 into the list.

    npm checks what it gets by the registry's own hash. Raises MachineError without npm, or when a
    version is not there.
    """
    entries = listed()
    with tempfile.TemporaryDirectory() as folder:
        packages = {
            name: _unpacked(name, Path(folder))
            for name in {f"{entry['package']}@{entry['version']}" for entry in entries}
        }
        for entry in entries:
            package = packages[f"{entry['package']}@{entry['version']}"]
            content = (package / entry["path"]).read_bytes()
            (FOLDER / entry["file"]).write_bytes(content)
            entry["sha256"] = hashlib.sha256(content).hexdigest()
    replace_file(LIST, json.dumps(entries, indent=1) + "\n", 0o644)


def _unpacked(package: str, folder: Path) -> Path:
    """The folder of a package's files."""
    npm = shutil.which("npm")
    if npm is None:
        raise MachineError("npm fetches the page's vendored files, and there is none on the PATH.")
    command = [npm, "pack", "--silent", "--pack-destination", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"`npm pack {package}` failed: {done.stderr.strip()[-500:]}")
    unpacked = folder / package.replace("/", "-")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(unpacked, filter="data")
    return unpacked / "package"
