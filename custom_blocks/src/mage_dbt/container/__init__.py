"""The entry points of the containers: each prepares what its program needs, then becomes it.

    python -m mage_dbt.container.prepare [--demo]   once: databases, roles, the ledger's migrations
    python -m mage_dbt.container.runner             the runner
    python -m mage_dbt.container.mage               Mage
    python -m mage_dbt.container.probe NAME         exit status 0 when `runner` or `mage` answers

Each program has its own user and mounts only its own secrets. Two programs share files in a folder
with the setgid bit, whose group both are in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mage_dbt.errors import WorkspaceError

SHARED = 0o007
"""Umask of the programs: the group may read and write their files, others may not."""


IMAGE = 0o022
"""Umask while root makes an image: the image's user must read the files."""


def main(become: Callable[[], object], umask: int = SHARED) -> None:
    """Runs `become`, which does not return when all is well. Exits 1 with one sentence if not."""
    os.umask(umask)
    try:
        become()
    except (WorkspaceError, OSError) as error:
        sys.exit(str(error))
