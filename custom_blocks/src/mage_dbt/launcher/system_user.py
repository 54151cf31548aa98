"""The system user that PostgreSQL runs as where we are root: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.errors import MachineError

CANDIDATES = ("postgres", "nobody")
"""The first that exists is taken."""


@dataclass(frozen=True)
class SystemUser:
    """How a program becomes another user; nothing is set when we are not root."""

    prefix: tuple[str, ...] = ()
    """Begins the command of a program that keeps the right to pass through root's folders."""
    user: str | None = None
    """Whom the parent process changes to, where there is no `prefix`."""
    owner: str | None = None
    """Who must own the data; None: the user that runs us."""

    @classmethod
    def that_reaches(cls, folders: Iterable[Path]) -> SystemUser:
        """Raises MachineError when we are root and no other user reaches `folders`."""
        if os.geteuid() != 0:
            return cls()
        for user in CANDIDATES:
            with suppress(KeyError):
                account = pwd.getpwnam(user)
                break
        else:
            raise MachineError(
                "PostgreSQL does not run as root, and there is no user postgres or nobody.",
                "Start as another user.",
            )
        if all(_reaches(account, folder) for folder in folders):
            return cls(user=user, owner=user)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise MachineError(
                f"PostgreSQL does not run as root, and user {user} cannot reach the workspace.",
                "Set WORKSPACE_HOME to a folder outside root's own, or start as another user.",
            )
        # Its one capability lets it pass through folders such as /root. Without the securebit,
        # access(2), which initdb calls, answers as if it did not have it.
        become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        become += ["--securebits=+no_setuid_fixup"]
        sets = ("inh-caps", "ambient-caps", "bounding-set")
        become += [f"--{name}=-all,+dac_read_search" for name in sets]
        return cls(prefix=(setpriv, *become), owner=user)


def _reaches(account: pwd.struct_passwd, folder: Path) -> bool:
    done = subprocess.run(
        ["test", "-x", str(folder)],
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )
    return done.returncode == 0
