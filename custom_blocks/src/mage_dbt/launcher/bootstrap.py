"""The first stage of every script: makes the environments, then hands over to the second stage.

It runs on whatever Python the user has, before anything is installed, so it and all it imports use
the standard library only. The hand-over is an exec: same process, other Python.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from mage_dbt.base import tool_command
from mage_dbt.errors import SettingError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.launcher import environments, lock, ports, vendored
from mage_dbt.launcher.disk import explain
from mage_dbt.launcher.environments import DBT, MAGE, MAGE_BLOCK, PEERS, SQLMESH, TEST, Recipe
from mage_dbt.launcher.progress import Progress
from mage_dbt.settings import CHECKOUT, Settings

STARTED = time.time()


def main() -> int:
    verb, *arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        settings = Settings.load()
        home = Home(settings.workspace_home)
        # Where hints look for it, also when it stands in the file of settings.
        os.environ[tool_command.SETTING] = settings.tool_command
        VERBS[verb](settings, home, arguments)
    except WorkspaceError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2 if isinstance(error, SettingError) else 1
    except OSError as error:
        print(f"\n{explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


def start(settings: Settings, home: Home, arguments: list[str]) -> None:
    if not {"-h", "--help"} & set(arguments):
        progress = Progress(STARTED)
        home.root.mkdir(parents=True, exist_ok=True)
        with lock.hold(home, f"http://127.0.0.1:{settings.mage_port}"):
            if not (home.environments / DBT.name).exists():
                # Later starts ask in the second stage, after ending what a killed one left.
                ports.require_free(settings)
            environments.ensure(home, [DBT, MAGE], progress)
            environments.remove_unused(home)
    elif not (home.environments / DBT.name).exists():
        print("Usage: ./scripts/start [--once] [--with-login]\n")
        print("See README.md. Nothing is installed yet.")
        return
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.start", *arguments])


def tool(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.tool", *arguments])


def dbt(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.dbt_itself", *arguments])


def rotate(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.rotate", *arguments])


def backup(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.backup", *arguments])


def restore(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.restore", *arguments])


def migrate(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.launcher.migrations", *arguments])


def test(settings: Settings, home: Home, arguments: list[str]) -> None:
    # What else a test needs is installed by who first asks for it: tests/harness/environments.py.
    environments.ensure(home, [TEST], Progress(STARTED))
    os.chdir(CHECKOUT)
    # Coverage of all tests alone: that of a few says little, and counting slows tests/unit by half.
    arguments = arguments or ["--cov=mage_dbt", "--cov-report="]
    # -P: the checkout must not get on the path, or its folder dbt/ becomes part of package dbt.
    _hand_over(home, TEST, ["-P", "-m", "pytest", *arguments])


def check(settings: Settings, home: Home, arguments: list[str]) -> None:
    environments.ensure(home, [TEST], Progress(STARTED))
    os.chdir(CHECKOUT)
    _hand_over(home, TEST, ["-m", "mage_dbt.launcher.check", *arguments])


def bench(settings: Settings, home: Home, arguments: list[str]) -> None:
    recipes = [DBT]
    if "--refresh" in arguments:
        recipes += [SQLMESH] if _plays("sqlmesh", arguments) else []
    elif "--pages" in arguments:
        recipes += [TEST]  # for the browser
    elif not {"-h", "--help"} & set(arguments):
        recipes += [] if "--without-mage" in arguments else [MAGE, MAGE_BLOCK]
        recipes += PEERS if "--peers" in arguments else []
    environments.ensure(home, recipes, Progress(STARTED))
    # By its folder: that alone, and not the checkout, gets on the path.
    _hand_over(home, DBT, [str(CHECKOUT / "bench"), *arguments])


def _plays(contender: str, arguments: list[str]) -> bool:
    """Whether the bench has this contender: all, unless some are chosen."""
    chosen = arguments[arguments.index("--contenders") + 1 :] if "--contenders" in arguments else []
    return not chosen or contender in chosen[0].split(",")


def write_locks(settings: Settings, home: Home, arguments: list[str]) -> None:
    if arguments not in ([], ["--upgrade"]):
        raise SettingError("Usage: ./scripts/lock [--upgrade]")
    progress = Progress(STARTED)
    environments.lock(home, bool(arguments), progress)
    vendored.fetch()
    progress.say(f"{vendored.FOLDER.relative_to(CHECKOUT)} written")


VERBS: dict[str, Callable[[Settings, Home, list[str]], None]] = {
    "start": start,
    "tool": tool,
    "dbt": dbt,
    "rotate": rotate,
    "backup": backup,
    "restore": restore,
    "migrate": migrate,
    "test": test,
    "check": check,
    "bench": bench,
    "lock": write_locks,
}


def _hand_over(home: Home, recipe: Recipe, arguments: list[str]) -> NoReturn:
    python = str(environments.python_of(home, recipe))
    # Hundreds of processes begin here, and would compile Mage and dbt anew each: images of
    # containers often forbid Python to keep what it compiled.
    ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    if environ.get("LC_ALL") in ("C", "POSIX"):
        # Python could not read a path that is not ASCII; without this it chooses C.UTF-8.
        del environ["LC_ALL"]
    sys.stdout.flush()
    os.execve(python, [python, *arguments], environ)


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
