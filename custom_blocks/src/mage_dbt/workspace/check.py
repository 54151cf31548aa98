"""`scripts/check`: format, lint and types, the way the tests ask for them."""

from __future__ import annotations

import subprocess
import sys

from mage_dbt.settings import CHECKOUT


def commands(fix: bool = False) -> list[list[str]]:
    """The three tools' commands, to be run at the top of the checkout."""
    python = sys.executable
    return [
        [python, "-m", "ruff", "format", *([] if fix else ["--check"]), "."],
        [python, "-m", "ruff", "check", *(["--fix"] if fix else []), "."],
        [python, "-m", "mypy"],
    ]


def main() -> int:
    failed = [
        command[2]
        for command in commands(fix="--fix" in sys.argv[1:])
        if subprocess.run(command, cwd=CHECKOUT).returncode
    ]
    if failed:
        print(f"Not clean: {', '.join(failed)}. ./scripts/check --fix repairs what it can.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
