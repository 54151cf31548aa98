"""Atomic writes of files, links and folders: a reader finds the old one or the new one, whole.

Each is made beside its path and renamed over it, which POSIX does in one step. Nothing is synced to
the disk: what a power failure has damaged is made again by whoever reads it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def new_file(path: Path, mode: int | None = None) -> Iterator[Path]:
    """An empty file beside `path`, to be filled in the block; then it takes the place of `path`.

    `mode` holds exactly; None leaves it to the umask. When the block raises, `path` stays as it is.
    """
    aside = _beside(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(aside, flags, 0o666 if mode is None else 0o600))
    try:
        if mode is not None:
            aside.chmod(mode)
        yield aside
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def replace_file(path: Path, text: str, mode: int | None = None) -> None:
    """Writes `text` (UTF-8) as the whole of `path`. See `new_file` for `mode`."""
    with new_file(path, mode) as aside:
        aside.write_text(text, encoding="utf-8")


def replace_link(link: Path, target: Path) -> None:
    """Points the symbolic link at `target`, whatever it pointed at before."""
    aside = _beside(link)
    aside.symlink_to(target)
    aside.replace(link)


@contextmanager
def new_folder(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """An empty folder beside `path`, to be filled in the block; then it takes the name `path`.

    For one writer at a time: what a writer that was killed has left is removed first. `path` must
    not be there when the block ends, unless as an empty folder.
    """
    aside = path.with_name(f"{path.name}.new")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(mode)
    yield aside
    aside.rename(path)


def _beside(path: Path) -> Path:
    """A name of its own, as several processes may write the same file."""
    return path.with_name(f".{path.name}.{token_hex(4)}")
