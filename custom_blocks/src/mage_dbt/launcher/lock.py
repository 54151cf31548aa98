"""Only one start for each workspace: a lock on a file that names its holder."""

from __future__ import annotations

import fcntl
import json
import os
from typing import IO

from mage_dbt.errors import AlreadyRunning
from mage_dbt.home import Home


def hold(home: Home, address: str) -> IO[str]:
    """Takes the workspace's lock, until the returned file is closed or the process ends.

    Raises AlreadyRunning with the holder's process and address.
    """
    file = home.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = _read(file.read())
        file.close()
        raise AlreadyRunning(
            f"This workspace ({home.root}) is already started: process {holder.get('pid', '?')}, "
            f"{holder.get('address', 'address unknown')}.",
            "Use that one, or set WORKSPACE_HOME and the ports to have a second.",
        ) from None
    file.truncate(0)
    json.dump({"pid": os.getpid(), "address": address}, file)
    file.flush()
    return file


def _read(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:  # the holder is writing it
        return {}
    return found if isinstance(found, dict) else {}
