"""The servers from which packages come: how git gets credentials, and why a fetch failed.

dbt passes a package's rendered address on git's command line, which every user of the machine can
read. So the credentials in it are taken out there. Git asks a credential helper instead once a
server wants to know who it is. The helper reads variables that only this user's processes can read.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import dbt.clients.git
import requests

WITH_CREDENTIALS = re.compile(r"(https?://)([^/?#\s]*)@(.+)", re.IGNORECASE)

USER, PASSWORD = "WORKSPACE_GIT_USER", "WORKSPACE_GIT_PASSWORD"

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

Run = Callable[..., Any]


@contextmanager
def off_the_command_line() -> Iterator[None]:
    """In this block dbt starts git without credentials in its arguments."""
    original: Run = dbt.clients.git.run_cmd
    known: dict[str, str] = {}

    def run_cmd(cwd: str, cmd: Sequence[str], env: dict[str, str] | None = None) -> Any:
        words = []
        for word in cmd:
            if found := WITH_CREDENTIALS.fullmatch(word):
                word = f"{found[1]}{found[3]}"
                known[word] = found[2]  # later commands name only the remote
            words.append(word)
        return original(cwd, words, env={**(env or {}), **_environment(known)} if known else env)

    dbt.clients.git.run_cmd = run_cmd
    try:
        yield
    finally:
        dbt.clients.git.run_cmd = original


def _environment(known: dict[str, str]) -> dict[str, str]:
    """Environment for git: each address has its own helper, and no other."""
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


def cause_of(error: BaseException | None) -> str:
    """What an error of `dbt deps` is due to: NETWORK, ACCESS, or empty for the declaration itself.

    By the exceptions of requests, and by what git, curl and ssh print in `LC_ALL=C`.
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
