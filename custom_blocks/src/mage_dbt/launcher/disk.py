"""Room on the disk: required before work begins, and explained when it runs out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from mage_dbt.errors import MachineError


def require_room(folder: Path, megabytes: int) -> None:
    """Raises MachineError when the disk of `folder` has less than `megabytes` free."""
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < megabytes:
        raise MachineError(
            f"The disk of {folder} has {free} MB free; this needs {megabytes} MB.",
            "Make room, or set WORKSPACE_HOME to a folder on another disk.",
        )


def explain(error: OSError) -> MachineError:
    """An error of the operating system as one that people can act on."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return MachineError(
            f"The disk is full{where and ', writing' + where}.",
            "Make room, or set WORKSPACE_HOME to a folder on another disk.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return MachineError(
            f"Cannot write{where}: {error.strerror}.",
            "Set WORKSPACE_HOME to a folder that can be written.",
        )
    return MachineError(f"{error.strerror}{where and ':' + where}.")
