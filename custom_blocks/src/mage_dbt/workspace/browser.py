"""A Chromium for the browser tests, from the system's package manager."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from mage_dbt.workspace.progress import Progress

NAMES = ("chromium", "chromium-browser", "google-chrome")

INSTALL_SECONDS = 900.0


def find() -> Path | None:
    """The system's Chromium, or None when there is none."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    return Path(found[0]) if found else None


def install(progress: Progress) -> None:
    """Installs Chromium where that is ours to do: as root, with apt-get. Elsewhere the browser
    tests report themselves as not run."""
    apt_get = shutil.which("apt-get")
    if find() or not apt_get or os.geteuid() != 0:
        return
    with progress.during("installing Chromium for the browser tests"):
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            done = subprocess.run(
                [apt_get, "--quiet", *arguments],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_SECONDS,
            )
            if done.returncode:
                last = done.stdout.strip().splitlines()[-3:]
                progress.say("\n".join(["Chromium could not be installed:", *last]))
                return
    progress.say(f"Chromium installed: {find()}")
