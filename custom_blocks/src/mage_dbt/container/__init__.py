"""What the containers run: each prepares what `scripts/start` does for that process, then is it.

    python -m mage_dbt.container.prepare [--demo]   once: databases, roles, the ledger's migrations
    python -m mage_dbt.container.runner             the runner
    python -m mage_dbt.container.mage               Mage
    python -m mage_dbt.container.probe NAME         exit status 0 when `runner` or `mage` answers

Each process has its own user and mounts only its own secrets. What two of them share is a folder
with the setgid bit, of the group both are in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mage_dbt.errors import WorkspaceError

SHARED = 0o007
"""The umask: what a process writes, its group may read and write, others nothing."""


IMAGE = 0o022
"""The umask of what makes an image as root: the image's user has to read it."""


def main(become: Callable[[], object], umask: int = SHARED) -> None:
    """Runs `become`, which does not return when all is well; else exits 1 with one sentence."""
    os.umask(umask)
    try:
        become()
    except (WorkspaceError, OSError) as error:
        sys.exit(str(error))
