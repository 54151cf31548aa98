"""Runs git: every git process of this package starts here."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mage_dbt.errors import Unavailable

ANY_OWNER = "safe.directory=*"
"""Configuration for folders of git-sync, which may run as another user: git refuses them else."""

REMOTE = ("git", "http", "https", "ssh")
"""Protocols by which git may fetch what a repository names: submodules and packages."""

HERE = "file"
"""The protocol of a repository on this machine."""

LOCAL_AND_REMOTE = (HERE, *REMOTE)

ALLOWED_PROTOCOLS = "GIT_ALLOW_PROTOCOL"
"""The variable by which git itself refuses all others."""

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Git:
    """git in one folder, for one purpose."""

    folder: Path
    config: tuple[str, ...] = ()
    """`name=value` pairs for `git -c`."""
    environment: Mapping[str, str] | None = None
    """In place of this process's own."""
    seconds: float = 120.0
    """The time limit of one command."""
    decoding: str = "replace"
    """What becomes of bytes that are no UTF-8: U+FFFD, or Python's `surrogateescape`."""

    def run(self, *arguments: str, stdin: str = "", seconds: float | None = None) -> Done:
        """Runs one command, which may fail: look at `returncode`.

        Raises Unavailable when it takes longer than `seconds`, OSError when there is no git.
        """
        limit = self.seconds if seconds is None else seconds
        options = [word for pair in self.config for word in ("-c", pair)]
        try:
            done = subprocess.run(
                ["git", "-C", str(self.folder), *options, *arguments],
                env=self.environment,
                input=stdin.encode(errors=self.decoding),
                capture_output=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"git {arguments[0]} took more than {limit:.0f} s.") from None
        # Decoded here: Python's text mode makes a new line of each CR, in a file's name or a diff.
        out, err = (part.decode(errors=self.decoding) for part in (done.stdout, done.stderr))
        return Done(done.args, done.returncode, out, err)

    def at(self, folder: Path) -> Git:
        """The same git in another folder."""
        return replace(self, folder=folder)

    def with_index(self, file: Path) -> Git:
        """The same git with an index of its own, so that the folder's stays as it is."""
        environment = os.environ if self.environment is None else self.environment
        return replace(self, environment={**environment, "GIT_INDEX_FILE": str(file)})


def protocol(address: str) -> str:
    """By which protocol git fetches from an address, as git reads it (gitremote-helpers)."""
    if found := re.match(r"([A-Za-z0-9][A-Za-z0-9+.-]*)(?:::|://)", address):
        return found[1].lower()
    return "ssh" if re.match(r"[^/]+:", address) else HERE  # `host:path` goes over ssh


def allowed_protocols(repository: str) -> str:
    """GIT_ALLOW_PROTOCOL for what a repository names. Only one on this machine may name others on
    this machine: what comes from elsewhere would read the folders of its reader."""
    return ":".join(LOCAL_AND_REMOTE if protocol(repository) == HERE else REMOTE)


def reason(done: Done) -> str:
    """Why a command failed, in one line: git's own message, or its exit status."""
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}"
