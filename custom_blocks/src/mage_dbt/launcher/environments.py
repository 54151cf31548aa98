"""The Python environments: from pinned lock files, side by side, only when something changed.

Each is made in a folder named after all it depends on (`env/dbt-<digest>`), and `env/dbt` becomes
a link to it as the last step. So one that was killed half way is never used, a changed lock file
never touches what a running process imports from, and a start with nothing to do only reads links.
Only the standard library is used here: this runs before anything is installed. It does not use uv's
projects: their lock holds one index's URLs (docs/decisions/0001-lock-files-without-urls.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.base.files import replace_link
from mage_dbt.base.redaction import without_credentials
from mage_dbt.errors import MachineError
from mage_dbt.home import Home
from mage_dbt.launcher.disk import require_room
from mage_dbt.launcher.progress import Progress
from mage_dbt.settings import CHECKOUT

UV = "uv==0.13.9"
PACKAGE = CHECKOUT / "custom_blocks"
OLDEST_PYTHON = "3.11"
"""Lock files hold for this Python and newer ones, on every system the packages exist for."""

ROOM_TO_INSTALL = 1800
"""Megabytes; the environments take 1,300, shared with uv's cache where it is on the same disk."""

# What pip may be configured with, and the name uv knows it by. uv does not read pip's files.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


@dataclass(frozen=True)
class Recipe:
    """What an environment is made from: `requirements.txt` (direct, by hand) and its `.lock`."""

    name: str
    requirements: Path
    patches: Path | None = None
    """A package of ours that patches what was installed, run by the new environment's Python."""

    @property
    def lock(self) -> Path:
        return self.requirements.with_suffix(".lock")

    def unpinned(self) -> list[str]:
        """The requirements that the lock file does not answer: the team changed a line."""
        pins = set(_pins(self.lock)) if self.lock.exists() else set()
        return [line for line in _requirements(self.requirements) if _pin(line) not in pins]


MAGE = Recipe(
    "mage", CHECKOUT / "requirements.txt", PACKAGE / "src" / "mage_dbt" / "mage" / "patches"
)
DBT = Recipe("dbt", CHECKOUT / "dbt" / "requirements.txt")
TEST = Recipe("test", CHECKOUT / "tests" / "requirements.txt")
VALIDATORS = Recipe("validators", CHECKOUT / "tests" / "k8s" / "requirements.txt")
MEASURED = CHECKOUT / "bench" / "environments"
MAGE_BLOCK = Recipe("bench-mage", MEASURED / "mage-dbt-block.txt")
PEERS = (
    Recipe("bench-airflow", MEASURED / "airflow-cosmos.txt"),
    Recipe("bench-dagster", MEASURED / "dagster-dbt.txt"),
    Recipe("bench-prefect", MEASURED / "prefect-dbt.txt"),
)
SQLMESH = Recipe("bench-sqlmesh", MEASURED / "sqlmesh.txt")
"""What `scripts/bench` compares with; made only when it is asked to."""

OLDER = Recipe("older", CHECKOUT / "tests" / "older" / "requirements.txt")
"""Another dbt than the one in use, for the tests that compare; made when one of them runs."""

DUCKDB = Recipe("duckdb", CHECKOUT / "tests" / "duckdb" / "requirements.txt")
"""dbt's environment with another adapter, for the test that runs on it."""

ALL = (MAGE, DBT, TEST, VALIDATORS, OLDER, DUCKDB, MAGE_BLOCK, *PEERS, SQLMESH)


def python_of(home: Home, recipe: Recipe) -> Path:
    """The environment's Python, by the folder the link points to now.

    Raises MachineError when the environment has not been made.
    """
    link = home.environments / recipe.name
    if not link.exists():
        raise MachineError(f"There is no {link} yet.", "Run ./scripts/start first.")
    return link.resolve() / "bin" / "python"


def ensure(home: Home, recipes: Iterable[Recipe], progress: Progress) -> None:
    """Makes those of `recipes` that are missing or out of date, at the same time.

    Raises MachineError with the last lines of the output of uv or pip.
    """
    folder = _folder(home)
    if all(_is_ready(folder, recipe) for recipe in recipes):
        return
    require_room(folder, ROOM_TO_INSTALL)
    with _only_installer(folder, progress) as installer:
        missing = [recipe for recipe in recipes if not _is_ready(folder, recipe)]
        uv = installer.uv()
        with ThreadPoolExecutor() as pool:
            try:
                for _ in pool.map(lambda recipe: installer.make(recipe, uv), missing):
                    pass
            except BaseException:
                installer.give_up()
                raise


def lock(home: Home, upgrade: bool, progress: Progress) -> None:
    """Writes every `.lock` anew; versions stay as they are where they can, unless `upgrade`."""
    with _only_installer(_folder(home), progress) as installer:
        uv = installer.uv()
        for recipe in ALL:
            if recipe in (TEST, DUCKDB) and not upgrade:
                # Tests are to run in the very versions that dbt's environment has.
                shutil.copyfile(DBT.lock, recipe.lock)
            installer.resolve(recipe, recipe.lock, uv, upgrade)
            progress.say(f"{recipe.lock.relative_to(CHECKOUT)} written")


def ensure_tool(
    home: Home,
    name: str,
    version: Iterable[str],
    make: Callable[[Path, Callable[[list[str]], str]], None],
    progress: Progress,
) -> Path:
    """The folder of a tool that is not Python's, made when it is missing or of another version.

    `version` is all that it depends on. `make` fills the folder it is given, and runs commands
    there with the function it is given. Raises MachineError with the end of a command's output.
    """
    folder = _folder(home)
    wanted = f"{name}-{_digest(*version, str(folder))}"
    path = folder / wanted
    if _link(folder / name) == wanted and path.is_dir():
        return path
    with _only_installer(folder, progress) as installer:
        if _link(folder / name) != wanted or not path.is_dir():
            began = time.monotonic()
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            with progress.during(f"making {name}"):
                make(path, lambda command: installer.run(command, path))
            replace_link(folder / name, Path(wanted))
            progress.say(f"{name} is ready ({time.monotonic() - began:.0f} s)")
    return path


def remove_unused(home: Home) -> None:
    """Removes environments no link points to. Only for the one start that holds this workspace."""
    if home.environments.is_symlink():
        return
    used = {path.resolve() for path in home.environments.iterdir() if path.is_symlink()}
    for path in home.environments.glob("*-" + "?" * 12):
        if path.is_dir() and not path.is_symlink() and path.resolve() not in used:
            shutil.rmtree(path, ignore_errors=True)


class _Installer:
    """Runs pip and uv for one folder of environments, while it holds that folder's lock."""

    def __init__(self, folder: Path, lock_descriptor: int, progress: Progress) -> None:
        self._folder = folder
        self._lock_descriptor = lock_descriptor
        self._progress = progress
        self._running: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()
        self._environ = {
            **os.environ,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self._environ.pop("PYTHONPATH", None)
        self._environ.pop("VIRTUAL_ENV", None)

    def uv(self) -> Path:
        """The path of uv, installed first when need be."""
        name = f"tools-{_digest(UV, str(self._folder))}"
        path = self._folder / name
        python = str(path / "bin" / "python")
        # A pip of its own takes most of the time to make; most Pythons have one already.
        pip = _pip_there()
        venv_pip = [python, "-m", "pip"]
        if _link(self._folder / "tools") != name or not path.exists():
            began = time.monotonic()
            with self._progress.during(f"installing {UV}"):
                shutil.rmtree(path, ignore_errors=True)
                without_pip = ["--without-pip"] if pip else []
                self.run([sys.executable, "-m", "venv", *without_pip, str(path)])
                self.run([*(pip or venv_pip), "--python", python, "install", "--quiet", UV])
            replace_link(self._folder / "tools", Path(name))
            self._progress.say(f"{UV} installed ({time.monotonic() - began:.0f} s)")
        config = self.run([*(pip or venv_pip), "config", "list"])
        for name, value in _from_pip(config).items():
            # By the environment and never by an argument: an index's URL may hold a password.
            self._environ.setdefault(name, value)
        return path / "bin" / "uv"

    def make(self, recipe: Recipe, uv: Path) -> None:
        began = time.monotonic()
        with self._progress.during(f"installing {recipe.name}'s environment"):
            lock_file = _lock_in_force(self._folder, recipe)
            if not lock_file.exists():
                self._resolve_aside(recipe, lock_file, uv)
            name = _folder_name(self._folder, recipe)
            path = self._folder / name
            python = str(path / "bin" / "python")
            venv = [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable]
            self.run([*venv, str(path)])
            install = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", python]
            self.run([*install, "--requirements", str(lock_file), "--editable", str(PACKAGE)])
            if recipe.patches:
                self.run([python, str(recipe.patches)])
            replace_link(self._folder / recipe.name, Path(name))
        direct = ", ".join(
            line.replace("==", " ") for line in _requirements(recipe.requirements)[:2]
        )
        self._progress.say(
            f"{recipe.name}'s environment installed: {direct} and the rest of "
            f"{len(_pins(lock_file))} packages ({time.monotonic() - began:.0f} s)"
        )

    def resolve(self, recipe: Recipe, output: Path, uv: Path, upgrade: bool = False) -> None:
        """Writes `output`, keeping the versions already in it where they can stay."""
        command = [str(uv), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        command += ["--python-version", OLDEST_PYTHON, "--no-annotate"]
        command += ["--custom-compile-command", "./scripts/lock", "--no-emit-index-url"]
        command += ["--upgrade"] if upgrade else []
        self.run([*command, "--output-file", str(output), str(recipe.requirements)])

    def _resolve_aside(self, recipe: Recipe, lock_file: Path, uv: Path) -> None:
        asked = ", ".join(recipe.unpinned())
        requirements = recipe.requirements.relative_to(CHECKOUT)
        self._progress.say(
            f"{requirements} asks for {asked}, which {recipe.lock.relative_to(CHECKOUT)} does not "
            "pin: resolving anew. Run ./scripts/lock to keep the result."
        )
        aside = lock_file.with_suffix(".new")
        aside.parent.mkdir(exist_ok=True)
        if recipe.lock.exists():
            shutil.copyfile(recipe.lock, aside)
        self.resolve(recipe, aside, uv)
        aside.rename(lock_file)

    def give_up(self) -> None:
        with self._guard:
            for process in self._running:
                process.terminate()

    def run(self, command: list[str], directory: Path | None = None) -> str:
        """Runs a command there, by default among the environments; returns its output."""
        # The lock's descriptor goes along: a next start waits even for a pip or uv that outlived
        # the start which began it.
        process = subprocess.Popen(
            command,
            env=self._environ,
            cwd=directory or self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[self._lock_descriptor],
        )
        with self._guard:
            self._running.add(process)
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()
            raise
        finally:
            with self._guard:
                self._running.discard(process)
        if process.returncode:
            raise _install_error(command, output)
        return output


@contextmanager
def _only_installer(folder: Path, progress: Progress) -> Iterator[_Installer]:
    with (folder / ".lock").open("w") as file:
        with progress.during(f"waiting for another install in {folder}"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield _Installer(folder, file.fileno(), progress)


def _folder(home: Home) -> Path:
    try:
        home.environments.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"Cannot make {home.environments}: {error.strerror}.",
            "Set WORKSPACE_HOME to a folder that can be written.",
        ) from None
    return home.environments.resolve()


def _is_ready(folder: Path, recipe: Recipe) -> bool:
    name = _link(folder / recipe.name)
    return (
        name is not None
        and (folder / name).is_dir()
        and _lock_in_force(folder, recipe).exists()
        and name == _folder_name(folder, recipe)
    )


def _lock_in_force(folder: Path, recipe: Recipe) -> Path:
    """The committed lock file, or where its replacement is kept when it misses a requirement."""
    if not recipe.unpinned():
        return recipe.lock
    committed = recipe.lock.read_text() if recipe.lock.exists() else ""
    digest = _digest(committed, *_requirements(recipe.requirements))
    return folder / "locks" / f"{recipe.name}-{digest}.lock"


def _folder_name(folder: Path, recipe: Recipe) -> str:
    lock_text = _lock_in_force(folder, recipe).read_text()
    # The folder and the package's: an environment holds absolute paths, so a moved one is remade.
    # The Python with its place and version: it may be replaced under our feet.
    python = (sys.base_prefix, platform.python_version(), platform.machine())
    files = sorted(recipe.patches.glob("*.py")) if recipe.patches else []
    # With what the package declares: its commands are written when it is installed.
    ours = [file.read_text() for file in (PACKAGE / "pyproject.toml", *files)]
    return f"{recipe.name}-{_digest(lock_text, *ours, str(folder), str(PACKAGE), *python)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _link(path: Path) -> str | None:
    return str(path.readlink()) if path.is_symlink() else None


def _requirements(file: Path) -> list[str]:
    """The lines of a requirements file and of those it includes, without comments."""
    found = []
    for line in file.read_text().splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line.startswith("-r "):
            found += _requirements(file.parent / line.removeprefix("-r ").strip())
        elif line:
            found.append(line)
    return found


def _pin(requirement: str) -> str:
    """`name==version` in one spelling; a requirement that is not of this form stays as it is, is
    in no lock file, and so gets resolved."""
    match = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?\s*==\s*([^\s;,*]+)", requirement)
    return f"{_normal(match[1])}=={match[2]}" if match else requirement


def _pins(lock_file: Path) -> list[str]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", lock_file.read_text(), flags=re.MULTILINE)
    return [f"{_normal(name)}=={version}" for name, version in found]


def _normal(name: str) -> str:
    # https://packaging.python.org/en/latest/specifications/name-normalization/
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip_there() -> list[str]:
    """pip of this Python, or of the one its environment was made from; empty when neither has one.

    An environment of ours, such as the tests', has none.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    base = str(getattr(sys, "_base_executable", "") or sys.executable)
    if base == sys.executable:
        return []
    found = subprocess.run([base, "-c", "import pip"], capture_output=True, check=False)
    return [] if found.returncode else [base, "-m", "pip"]


def _from_pip(config: str) -> Mapping[str, str]:
    """uv's variables for what `pip config list` says, a line `global.index-url='…'` each."""
    found: dict[str, str] = {}
    for line in config.splitlines():
        name, equals, value = line.partition("=")
        variable = PIP_TO_UV.get(name.rpartition(".")[2])
        if equals and variable:
            found[variable] = " ".join(value.strip("'\"").replace("\\n", " ").split())
    return found


def _install_error(command: list[str], output: str) -> MachineError:
    # Arguments are ours and hold no secret; a URL in the output may.
    lines = [without_credentials(line) for line in output.strip().splitlines()][-12:]
    hint = ""
    if "No space left" in output or "os error 28" in output:
        hint = "The disk is full: make room, or set WORKSPACE_HOME to another disk."
    elif "ensurepip" in output:
        hint = "This Python cannot make environments: install its venv package (python3-venv)."
    elif re.search(r"dns error|connect|timed out|Could not find a version|network", output, re.I):
        hint = "The package index could not be reached, or lacks the package; see pip's settings."
    name = " ".join([Path(command[0]).name, *command[1:3]])
    return MachineError("\n".join([f"`{name}` failed:", *lines, ""]), hint)
