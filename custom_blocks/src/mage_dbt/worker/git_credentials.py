"""What a package's address holds of credentials reaches git by its environment.

dbt puts the address into git's command line as it stands in packages.yml, rendered; and every user
of the machine can read a command line. Git asks a credential helper instead, once a server wants to
know who it is; the helper reads variables that only this user's processes can read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import dbt.clients.git

WITH_CREDENTIALS = re.compile(r"(https?://)([^/?#\s]*)@(.+)", re.IGNORECASE)

USER, PASSWORD = "WORKSPACE_GIT_USER", "WORKSPACE_GIT_PASSWORD"

Run = Callable[..., Any]


@contextmanager
def off_the_command_line() -> Iterator[None]:
    """Meanwhile dbt's git is started without credentials among its words."""
    original: Run = dbt.clients.git.run_cmd
    known: dict[str, str] = {}

    def run_cmd(cwd: str, cmd: Sequence[str], env: dict[str, str] | None = None) -> Any:
        words = []
        for word in cmd:
            if found := WITH_CREDENTIALS.fullmatch(word):
                word = f"{found[1]}{found[3]}"
                known[word] = found[2]  # its later commands name the remote alone
            words.append(word)
        return original(cwd, words, env={**(env or {}), **_environment(known)} if known else env)

    dbt.clients.git.run_cmd = run_cmd
    try:
        yield
    finally:
        dbt.clients.git.run_cmd = original


def _environment(known: dict[str, str]) -> dict[str, str]:
    """For git: each address asks a helper of its own, and no other."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    environ = {}
    for number, (address, given) in enumerate(known.items()):
        user, _, password = given.partition(":")
        environ[f"{USER}_{number}"] = unquote(user)
        environ[f"{PASSWORD}_{number}"] = unquote(password)
        helper = (
            f'!f() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" '
            f'"${USER}_{number}" "${PASSWORD}_{number}"; }}; f'
        )
        for value in ("", helper):
            environ[f"GIT_CONFIG_KEY_{count}"] = f"credential.{address}.helper"
            environ[f"GIT_CONFIG_VALUE_{count}"] = value
            count += 1
    return environ | {"GIT_CONFIG_COUNT": str(count)}
