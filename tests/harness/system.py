"""Programs that come from the system's package manager: found, or installed where that is ours to
do, which is as root with apt-get. Elsewhere the tests that need them report themselves as not run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.waiting import progress

FOLDERS = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""Where programs are looked for; Debian keeps those of servers outside of people's PATH."""

INSTALL_SECONDS = 900.0


def program(package: str, *others: str) -> Path | None:
    """The package's program or one of the others; the package is installed when there is none."""
    names = (package, *others)
    return _find(*names) or (_install(package) and _find(*names)) or None


def _find(*names: str) -> Path | None:
    found = [path for name in names if (path := shutil.which(name, path=FOLDERS))]
    return Path(found[0]) if found else None


def _install(package: str) -> bool:
    apt_get = shutil.which("apt-get")
    if not apt_get or os.geteuid() != 0:
        return False
    with _alone(), progress().during(f"installing {package}"):
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", package]):
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
                progress().say("\n".join([f"{package} could not be installed:", *last]))
                return False
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """apt-get refuses to work twice at once; tests of several processes may ask for it."""
    with (Path(tempfile.gettempdir()) / "mage-dbt-test-apt-get.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
