"""`scripts/check`: format, lint, types and the rooms' imports, as the tests require them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mage_dbt.settings import CHECKOUT


def commands(fix: bool = False) -> list[list[str]]:
    """The commands of all tools, for the top of the checkout."""
    python = sys.executable
    return [
        [python, "-m", "ruff", "format", *([] if fix else ["--check"]), "."],
        [python, "-m", "ruff", "check", *(["--fix"] if fix else []), "."],
        [python, "-m", "mypy"],
        [str(Path(python).with_name("lint-imports")), "--no-logo", "--no-cache"],
    ]


def main() -> int:
    failed = [
        Path(command[0]).name if command[1] != "-m" else command[2]
        for command in commands(fix="--fix" in sys.argv[1:])
        if subprocess.run(command, cwd=CHECKOUT).returncode
    ]
    if failed:
        print(f"Not clean: {', '.join(failed)}. ./scripts/check --fix repairs what it can.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
