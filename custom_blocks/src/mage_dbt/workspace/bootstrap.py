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

from mage_dbt.errors import SettingError, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT, Settings
from mage_dbt.workspace import environments, lock, ports
from mage_dbt.workspace.disk import explain
from mage_dbt.workspace.environments import (
    DBT,
    MAGE,
    MAGE_BLOCK,
    PEERS,
    TEST,
    Recipe,
)
from mage_dbt.workspace.progress import Progress

STARTED = time.time()


def main() -> int:
    verb, *arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        settings = Settings.load()
        home = Home(settings.workspace_home)
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
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.start", *arguments])


def tool(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.cli", *arguments])


def dbt(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.dbt_itself", *arguments])


def rotate(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.rotate", *arguments])


def backup(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.backup", *arguments])


def restore(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.restore", *arguments])


def migrate(settings: Settings, home: Home, arguments: list[str]) -> None:
    _hand_over(home, DBT, ["-m", "mage_dbt.workspace.migrations", *arguments])


def test(settings: Settings, home: Home, arguments: list[str]) -> None:
    # What else a test needs is installed by who first asks for it: tests/harness/environments.py.
    environments.ensure(home, [TEST], Progress(STARTED))
    os.chdir(CHECKOUT)
    # -P: the checkout must not get on the path, or its folder dbt/ becomes part of package dbt.
    _hand_over(home, TEST, ["-P", "-m", "pytest", *arguments])


def check(settings: Settings, home: Home, arguments: list[str]) -> None:
    environments.ensure(home, [TEST], Progress(STARTED))
    os.chdir(CHECKOUT)
    _hand_over(home, TEST, ["-m", "mage_dbt.workspace.check", *arguments])


def bench(settings: Settings, home: Home, arguments: list[str]) -> None:
    recipes = [DBT]
    if not {"-h", "--help"} & set(arguments):
        recipes += [] if "--without-mage" in arguments else [MAGE, MAGE_BLOCK]
        recipes += PEERS if "--peers" in arguments else []
    environments.ensure(home, recipes, Progress(STARTED))
    # By its folder: that alone, and not the checkout, gets on the path.
    _hand_over(home, DBT, [str(CHECKOUT / "bench"), *arguments])


def write_locks(settings: Settings, home: Home, arguments: list[str]) -> None:
    if arguments not in ([], ["--upgrade"]):
        raise SettingError("Usage: ./scripts/lock [--upgrade]")
    environments.lock(home, bool(arguments), Progress(STARTED))


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
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if environ.get("LC_ALL") in ("C", "POSIX"):
        # Python could not read a path that is not ASCII; without this it chooses C.UTF-8.
        del environ["LC_ALL"]
    sys.stdout.flush()
    os.execve(python, [python, *arguments], environ)


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
