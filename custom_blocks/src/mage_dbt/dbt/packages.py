"""A commit's dbt packages: fetched once, kept in a store by their pins, never fetched by a run.

`dbt deps` runs when a commit is made ready, unless a package-lock.yml pins its packages and the
store has them. If `dbt deps` cannot reach a source, packages that the store has for the same
declarations are used, and the commit says so. All of this happens inside dbt's command `deps`, so
what is declared, and where it is installed, is dbt's own answer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dbt.deps.base
import dbt.task.deps
from dbt.cli.main import dbtRunner
from dbt.clients.yaml_helper import load_yaml_text
from dbt.config.project import package_config_from_data
from dbt.config.renderer import PackageRenderer
from dbt.contracts.project import LocalPackage
from dbt.deps.local import LocalPinnedPackage
from dbt.task.base import move_to_nearest_project_dir
from dbt.task.deps import DepsTask

from mage_dbt.base.files import new_folder
from mage_dbt.base.redaction import scrub
from mage_dbt.commits.links import is_inside
from mage_dbt.dbt import borders
from mage_dbt.dbt.package_sources import cause_of, off_the_command_line
from mage_dbt.dbt.parsing import by_machine

LOCK_FILE = "package-lock.yml"

KINDS = ("package", "git", "local", "tarball", "private")

FORM = b"3"
"""Format version of the store. What another version has kept is not used: the first one kept what a
killed `dbt deps` had left."""


@dataclass
class Brought:
    """What became of a commit's packages."""

    failed: str = ""
    """dbt's message when they cannot be had; empty when they are there."""
    outside: bool = False
    """Whether that is because one of them leads out of its tree."""
    by_machine: bool = False
    """Whether that is because this machine lacks something."""
    cause: str = ""
    """NETWORK where a source could not be reached, and may be later; ACCESS where it wants more
    rights; empty where the declaration is wrong."""
    declared: tuple[str, ...] = ()
    """The declared packages, like `dbt-labs/dbt_utils 1.3.0`."""
    notes: list[str] = field(default_factory=list)
    """Sentences on where the packages come from."""


def bring(arguments: Sequence[str], store: Path, own: Path) -> Brought:
    """Installs the packages of dbt's project, from `store` if it has them.

    `own` is the commit's folder: what lies in it belongs to this commit alone.
    """
    brought = Brought()
    with _in_place_of_deps(lambda task, deps: _bring(_Packages(task, store, own), deps, brought)):
        done = dbtRunner().invoke(["deps", *arguments])
    if refused := borders.outside(done.exception):
        brought.failed, brought.outside = scrub(refused.msg), True
    elif not done.success:
        brought.failed = scrub(str(done.exception or "dbt gave no reason.").strip())
        brought.by_machine = by_machine(done.exception)
        brought.cause = cause_of(done.exception)
    return brought


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
            if borders.outside(error) or by_machine(error) or not packages.kept:
                raise
            packages.take()
            reason = scrub(str(error).strip())
            brought.notes.append(f"Packages were not fetched anew: {reason}")
        else:
            packages.keep()


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
        """The declared packages, as a person would name them."""
        return tuple(_named(package) for package in self._project.packages.packages)

    @property
    def installed(self) -> Path:
        """The folder into which dbt installs them."""
        return self._root / self._project.packages_install_path

    def fetch(self, deps: Callable[[Any], None]) -> None:
        """Has dbt fetch them. Raises what dbt raises."""
        with _downloads_in(self._own), off_the_command_line():
            deps(self._task)

    @property
    def pinned(self) -> bool:
        """Whether the commit's lock file fits what it declares. If not, dbt writes another one."""
        hashed = getattr(dbt.task.deps, "_create_sha1_hash", None)
        if hashed is None or not self._lock.is_file():
            return False
        locked = load_yaml_text(self._lock.read_text()) or {}
        return bool(locked.get("sha1_hash") == hashed(self._project.packages.packages))

    @property
    def kept(self) -> bool:
        """Whether the store has them. Ask before dbt writes a lock file."""
        return self._kept.is_dir()

    @cached_property
    def _kept(self) -> Path:
        return self._store / self._key()

    def keep(self) -> None:
        """Copies what was fetched into the store, without what lies in the commit itself."""
        with _alone_in(self._store), new_folder(self._kept) as aside:
            (aside / "packages").mkdir()
            local = {self._link(package) for package in self._local()}
            for path in self.installed.iterdir():
                if path not in local:
                    _copy(path, aside / "packages" / path.name)
            shutil.copy(self._lock, aside / LOCK_FILE)
            shutil.rmtree(self._kept, ignore_errors=True)
        self._shorten_links()

    def take(self) -> None:
        """Installs the kept packages, beside this commit's own local ones."""
        shutil.rmtree(self.installed, ignore_errors=True)
        with _alone_in(self._store):
            shutil.copytree(self._kept / "packages", self.installed, symlinks=True)
            if not self.pinned:
                shutil.copy(self._kept / LOCK_FILE, self._lock)
        for package in self._local():
            package.install(self._project, self._renderer)
        self._shorten_links()

    @property
    def _lock(self) -> Path:
        return self._root / LOCK_FILE

    def _local(self) -> Iterator[LocalPinnedPackage]:
        """The packages of the lock file that are folders of the commit."""
        locked = load_yaml_text(self._lock.read_text()) or {}
        rendered = self._renderer.render_data(locked)
        for package in package_config_from_data(rendered, locked).packages:
            if isinstance(package, LocalPackage):
                yield LocalPinnedPackage(package.local)

    def _link(self, package: LocalPinnedPackage) -> Path:
        return self.installed / str(package.get_project_name(self._project, self._renderer))

    def _shorten_links(self) -> None:
        """Makes links to local packages relative: a commit's folder may be moved."""
        for package in self._local():
            link = self._link(package)
            if link.is_symlink() and is_inside(link, self._own):
                aim = os.path.relpath(link.resolve(), link.parent.resolve())
                link.unlink()
                link.symlink_to(aim)

    def _key(self) -> str:
        """Hex digest of the declarations and pins, also of local packages' declarations."""
        digest = hashlib.sha256(FORM)
        digest.update(self._lock.read_bytes() if self._lock.is_file() else b"")
        seen: set[str] = set()
        waiting = list(self._project.packages.packages)
        while waiting:
            package = waiting.pop(0)
            text = json.dumps(package.to_dict(), sort_keys=True, default=str)
            if text in seen:
                continue
            seen.add(text)
            digest.update(text.encode() + b"\0")
            if isinstance(package, LocalPackage):
                pinned = LocalPinnedPackage(package.local)
                waiting += pinned.fetch_metadata(self._project, self._renderer).packages
        return digest.hexdigest()[:32]


@contextmanager
def _in_place_of_deps(action: Callable[[Any, Callable[[Any], None]], None]) -> Iterator[None]:
    """In this block dbt's command `deps` reads its project, and then does `action`."""
    original = DepsTask.run
    DepsTask.run = lambda task: action(task, original)
    try:
        yield
    finally:
        DepsTask.run = original


@contextmanager
def _alone_in(store: Path) -> Iterator[None]:
    """No other process changes or reads the store in this block."""
    descriptor = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _downloads_in(folder: Path) -> Iterator[None]:
    """In this block dbt downloads into `folder`: a failed one would leave them elsewhere."""
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


def _copy(path: Path, aim: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, aim, symlinks=True)
    else:
        shutil.copy2(path, aim, follow_symlinks=False)


def _named(package: Any) -> str:
    """The package as it is written: dbt's rendered one may hold a secret."""
    declared = getattr(package, "unrendered", None) or package.to_dict()
    for kind in KINDS:
        if declared.get(kind):
            wanted = declared.get("version") or declared.get("revision") or ""
            return f"{declared[kind]} {wanted}".strip()
    return str(declared)
