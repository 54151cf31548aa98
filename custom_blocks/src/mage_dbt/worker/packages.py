"""dbt packages of a commit: brought once, kept by what was pinned, never fetched by a run.

`dbt deps` runs when a commit is made ready, unless its packages are pinned by a package-lock.yml
and were brought before. When it cannot reach a source, packages that the same declarations brought
before are used, and the commit says so. What is declared, where it is installed and which packages
lie in the commit itself (`local:`) is dbt's own, rendered answer: all of this happens inside its
command `deps`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dbt.deps.base
import dbt.task.deps
import requests
from dbt.cli.main import dbtRunner
from dbt.clients.yaml_helper import load_yaml_text
from dbt.config.project import package_config_from_data
from dbt.config.renderer import PackageRenderer
from dbt.contracts.project import LocalPackage
from dbt.deps.local import LocalPinnedPackage
from dbt.task.base import move_to_nearest_project_dir
from dbt.task.deps import DepsTask

from mage_dbt.redaction import scrub
from mage_dbt.worker.git_credentials import off_the_command_line
from mage_dbt.worker.project import by_machine

LOCK_FILE = "package-lock.yml"

KINDS = ("package", "git", "local", "tarball", "private")

NETWORK, ACCESS = "network", "access"

UNREACHED = (
    *(requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError),
    *(ConnectionError, TimeoutError, socket.gaierror),
)

OF_A_CONNECTION = re.compile(
    r"Could not resolve|Connection (refused|reset|timed out|closed)|Failed to connect"
    r"|Could(n't| not) connect|Network is unreachable|No route to host|Operation timed out"
    r"|Temporary failure in name resolution|early EOF|hung up unexpectedly|SSL_ERROR_SYSCALL"
    r"|The requested URL returned error: (5\d\d|429)|HTTPConnectionPool|HTTPSConnectionPool"
    r"|(connection|read|operation) timed out",
    re.IGNORECASE,
)

OF_RIGHTS = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied"
    r"|Host key verification failed|returned error: 40[13]"
)

FORM = b"3"
"""Format version of the store; what another version has kept is not taken (the first one kept what
a killed `dbt deps` had left)."""


@dataclass
class Brought:
    """What became of a commit's packages."""

    failed: str = ""
    """dbt's message when they cannot be had; empty when they are there."""
    by_machine: bool = False
    """Whether that is because this machine is short of something."""
    cause: str = ""
    """NETWORK where a source could not be reached, so it may be there later; ACCESS where it lets
    nobody in who has not more rights; else what is declared is wrong."""
    declared: tuple[str, ...] = ()
    """Each as a person would name it: `dbt-labs/dbt_utils 1.3.0`."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of where they came from."""


def bring(arguments: Sequence[str], store: Path, own: Path) -> Brought:
    """Installs the packages of dbt's project, from `store` where they are kept.

    `own` is the commit's folder: what lies in it is of this commit alone.
    """
    brought = Brought()
    with _in_place_of_deps(lambda task, deps: _bring(_Packages(task, store, own), deps, brought)):
        done = dbtRunner().invoke(["deps", *arguments])
    if not done.success:
        brought.failed = scrub(str(done.exception or "dbt gave no reason.").strip())
        brought.by_machine = by_machine(done.exception)
        brought.cause = cause_of(done.exception)
    return brought


def cause_of(error: BaseException | None) -> str:
    """What an error of `dbt deps` comes from; empty when it is what the commit asks for.

    Sources: requests' tree of exceptions; what git, curl and ssh print, in `LC_ALL=C`.
    """
    while error is not None:
        if isinstance(error, requests.HTTPError):
            status = getattr(error.response, "status_code", 0)
            return NETWORK if status >= 500 or status == 429 else ""
        if isinstance(error, UNREACHED) or OF_A_CONNECTION.search(str(error)):
            return NETWORK
        if OF_RIGHTS.search(str(error)):
            return ACCESS
        error = error.__cause__ or error.__context__
    return ""


def _bring(packages: _Packages, deps: Callable[[Any], None], brought: Brought) -> None:
    brought.declared = packages.declared
    if not packages.declared:
        return  # dbt would remove what the commit itself holds in the folder of packages
    if packages.kept and packages.pinned:
        packages.take()
    else:
        try:
            packages.fetch(deps)
        except Exception as error:
            if by_machine(error) or not packages.kept:
                raise
            packages.take()
            said = scrub(str(error).strip())
            brought.notes.append(f"Packages were not fetched anew: {said}")
        else:
            packages.keep()
    brought.notes += [
        f"{one} is no folder of the commit: runs of all commits share what lies there."
        for one in packages.shared()
    ]


class _Packages:
    """The packages of one project, in its folder and in the store."""

    def __init__(self, task: Any, store: Path, own: Path) -> None:
        move_to_nearest_project_dir(task.args.project_dir)  # as dbt's own command does first
        self._task = task
        self._own = own
        self._project = task.project
        self._root = Path(self._project.project_root)
        self._renderer = PackageRenderer(task.cli_vars)
        self._store = store

    @property
    def declared(self) -> tuple[str, ...]:
        """Each as a person would name it."""
        return tuple(_named(one) for one in self._project.packages.packages)

    @property
    def installed(self) -> Path:
        """The folder dbt installs them into."""
        return self._root / self._project.packages_install_path

    def shared(self) -> Iterator[str]:
        """What of the packages does not lie in the commit's own folder, as it is declared."""
        if not _inside(self.installed, self._own):
            yield f"packages-install-path {self._project.packages_install_path}"
        for one in self._local():
            if not _inside(Path(one.resolve_path(self._project)), self._own):
                yield f"The local package {one.local}"

    def fetch(self, deps: Callable[[Any], None]) -> None:
        """Lets dbt bring them. Raises what dbt raises."""
        with _downloads_in(self._own), off_the_command_line():
            deps(self._task)

    @property
    def pinned(self) -> bool:
        """Whether the commit's lock file is of what it declares; if not, dbt makes another one."""
        hashed = getattr(dbt.task.deps, "_create_sha1_hash", None)
        if hashed is None or not self._lock.is_file():
            return False
        locked = load_yaml_text(self._lock.read_text()) or {}
        return bool(locked.get("sha1_hash") == hashed(self._project.packages.packages))

    @property
    def kept(self) -> bool:
        """Whether the store has them; to be asked before dbt writes a lock file."""
        return self._kept.is_dir()

    @cached_property
    def _kept(self) -> Path:
        return self._store / self._key()

    def keep(self) -> None:
        """Copies what was brought into the store, without what lies in the commit itself."""
        aside = self._kept.with_suffix(".new")
        with _alone_in(self._store):
            shutil.rmtree(aside, ignore_errors=True)
            (aside / "packages").mkdir(parents=True)
            local = {self._link(one) for one in self._local()}
            for one in self.installed.iterdir():
                if one not in local:
                    _copy(one, aside / "packages" / one.name)
            shutil.copy(self._lock, aside / LOCK_FILE)
            shutil.rmtree(self._kept, ignore_errors=True)
            aside.rename(self._kept)
        self._shorten_links()

    def take(self) -> None:
        """Puts the kept packages into the project, beside this commit's own local ones."""
        shutil.rmtree(self.installed, ignore_errors=True)
        with _alone_in(self._store):
            shutil.copytree(self._kept / "packages", self.installed, symlinks=True)
            if not self.pinned:
                shutil.copy(self._kept / LOCK_FILE, self._lock)
        for one in self._local():
            one.install(self._project, self._renderer)
        self._shorten_links()

    @property
    def _lock(self) -> Path:
        return self._root / LOCK_FILE

    def _local(self) -> Iterator[LocalPinnedPackage]:
        """Those of the lock file that are folders of the commit."""
        locked = load_yaml_text(self._lock.read_text()) or {}
        rendered = self._renderer.render_data(locked)
        for one in package_config_from_data(rendered, locked).packages:
            if isinstance(one, LocalPackage):
                yield LocalPinnedPackage(one.local)

    def _link(self, package: LocalPinnedPackage) -> Path:
        return self.installed / str(package.get_project_name(self._project, self._renderer))

    def _shorten_links(self) -> None:
        """dbt links a local package by its absolute path; a commit's folder may be moved."""
        for package in self._local():
            link = self._link(package)
            if link.is_symlink() and _inside(link, self._own):
                aim = os.path.relpath(link.resolve(), link.parent.resolve())
                link.unlink()
                link.symlink_to(aim)

    def _key(self) -> str:
        """The same for the same declarations and pins (hex); of local packages, for theirs too."""
        digest = hashlib.sha256(FORM)
        digest.update(self._lock.read_bytes() if self._lock.is_file() else b"")
        seen: set[str] = set()
        line = list(self._project.packages.packages)
        while line:
            one = line.pop(0)
            text = json.dumps(one.to_dict(), sort_keys=True, default=str)
            if text in seen:
                continue
            seen.add(text)
            digest.update(text.encode() + b"\0")
            if isinstance(one, LocalPackage):
                pinned = LocalPinnedPackage(one.local)
                line += pinned.fetch_metadata(self._project, self._renderer).packages
        return digest.hexdigest()[:32]


@contextmanager
def _in_place_of_deps(what: Callable[[Any, Callable[[Any], None]], None]) -> Iterator[None]:
    """dbt's command `deps` gets as far as its project, and does `what` then."""
    original = DepsTask.run
    DepsTask.run = lambda task: what(task, original)
    try:
        yield
    finally:
        DepsTask.run = original


@contextmanager
def _alone_in(store: Path) -> Iterator[None]:
    """Nobody takes what another process is just putting there."""
    descriptor = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _downloads_in(folder: Path) -> Iterator[None]:
    """dbt leaves its downloads in a folder of /tmp when it fails, each time in another one."""
    own = "DBT_DOWNLOADS_DIR" not in os.environ
    path = folder / ".dbt-downloads"
    if own:
        dbt.deps.base.DOWNLOADS_PATH = str(path)
    try:
        yield
    finally:
        if own:
            dbt.deps.base.DOWNLOADS_PATH = None
            shutil.rmtree(path, ignore_errors=True)


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _copy(one: Path, aim: Path) -> None:
    if one.is_dir() and not one.is_symlink():
        shutil.copytree(one, aim, symlinks=True)
    else:
        shutil.copy2(one, aim, follow_symlinks=False)


def _named(package: Any) -> str:
    """As it was written: dbt's rendered one may hold a secret."""
    declared = getattr(package, "unrendered", None) or package.to_dict()
    for kind in KINDS:
        if declared.get(kind):
            wanted = declared.get("version") or declared.get("revision") or ""
            return f"{declared[kind]} {wanted}".strip()
    return str(declared)
