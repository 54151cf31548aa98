"""Programs that come from the system's package manager: found, or installed where that is ours to
do, which is as root with apt-get. Elsewhere the tests that need them report themselves as not run.

One that changes the machine when it is installed is only unpacked, into a folder of the tests'.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness import environments
from tests.harness.waiting import progress

FOLDERS = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""Where programs are looked for; Debian keeps those of servers outside of people's PATH."""

INSTALL_SECONDS = 900.0


def program(package: str, *others: str) -> Path | None:
    """The package's program or one of the others; the package is installed when there is none."""
    names = (package, *others)
    return _find(*names) or (_install(package) and _find(*names)) or None


def chromium() -> Path | None:
    """The browser, whatever it is called here."""
    return program("chromium", "chromium-browser", "google-chrome")


def pgbouncer() -> Path | None:
    return program("pgbouncer")


def unpacked(package: str) -> Path | None:
    """The program of this name, from its package where the machine has none; nothing else of the
    machine knows it."""
    folder = environments.installed().environments / f"package-{package}"
    program = folder / "usr" / "bin" / package
    if not (found := _find(package)) and not program.exists():
        with _alone():
            if not program.exists() and not _unpack(package, folder):
                return None
    return found or program


def _unpack(package: str, folder: Path) -> bool:
    if not _can_install():
        return False
    aside = folder.with_suffix(".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    aside.chmod(0o755)
    with progress().during(f"unpacking {package}"):
        if not _apt_get(package, ["update"]) or not _apt_get(package, ["download", package], aside):
            return False
        [file] = aside.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(file), str(aside)], check=True)
    file.unlink()
    aside.rename(folder)
    return True


def _can_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _find(*names: str) -> Path | None:
    found = [path for name in names if (path := shutil.which(name, path=FOLDERS))]
    return Path(found[0]) if found else None


def _install(package: str) -> bool:
    if not _can_install():
        return False
    install = ["install", "--yes", "--no-install-recommends", package]
    with _alone(), progress().during(f"installing {package}"):
        return _apt_get(package, ["update"]) and _apt_get(package, install)


def _apt_get(package: str, arguments: Sequence[str], folder: Path | None = None) -> bool:
    done = subprocess.run(
        ["apt-get", "--quiet", *arguments],
        cwd=folder,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        last = done.stdout.strip().splitlines()[-3:]
        progress().say("\n".join([f"{package} could not be had:", *last]))
    return not done.returncode


@contextmanager
def _alone() -> Iterator[None]:
    """apt-get refuses to work twice at once; tests of several processes may ask for it."""
    with (Path(tempfile.gettempdir()) / "mage-dbt-test-apt-get.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
