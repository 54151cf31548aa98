"""Patches of the installed Mage, applied once when its environment is set up.

The Python of Mage's environment runs `python -m mage_dbt.mage.patches`. Each patch is written for
one version of one file. Another version, or a changed file, is refused, so that nobody runs a Mage
that was patched by guess. The untouched file stays beside the patched one: applying the patches
again, or newer ones, gives the same result.

There is a module for each purpose. A comment says why a patch is there, and tests/mage has the test
that fails without it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mage_dbt.base.files import replace_file
from mage_dbt.errors import MachineError
from mage_dbt.mage.patches import (
    block_runs,
    dbt_blocks,
    late_imports,
    own_pipelines,
    people,
    refusals,
    triggers,
    web_application,
    web_socket,
    worker_pool,
)
from mage_dbt.mage.patches.edit import Patch

VERSION = "0.9.80"
"""The version of mage-ai that the patches are written for."""

UNTOUCHED = ".untouched"
"""Suffix of the file as the package brought it."""

PATCHES = (
    *worker_pool.PATCHES,
    *block_runs.PATCHES,
    *dbt_blocks.PATCHES,
    *web_application.PATCHES,
    *web_socket.PATCHES,
    *people.PATCHES,
    *triggers.PATCHES,
    *own_pipelines.PATCHES,
    *refusals.PATCHES,
    *late_imports.PATCHES,
)


def apply() -> list[str]:
    """Patches the mage_ai of this Python; returns the files that it wrote.

    Raises MachineError for another version of Mage or a file that is not as expected.
    """
    version = importlib.metadata.version("mage-ai")
    if version != VERSION:
        raise MachineError(
            f"The patches are for mage-ai {VERSION}; this environment has {version}.",
            "Check each of them against the new version, then change VERSION and the checksums.",
        )
    spec = importlib.util.find_spec("mage_ai")
    if spec is None or spec.origin is None:
        raise MachineError("mage_ai is not where Python looks for it.")
    root = Path(spec.origin).parent
    of_file: dict[str, list[Patch]] = {}
    for patch in PATCHES:
        of_file.setdefault(patch.file, []).append(patch)
    changed = [(root / file, _patched(root / file, patches)) for file, patches in of_file.items()]
    written = []
    for path, text in changed:
        if path.read_text() != text:
            _replace(path, text)
            written.append(str(path.relative_to(root)))
    return written


def _patched(path: Path, patches: Sequence[Patch]) -> str:
    """The text of the file with the edits of all its patches."""
    untouched = path.with_name(path.name + UNTOUCHED)
    source = untouched if untouched.exists() else path
    data = source.read_bytes()
    if {hashlib.sha256(data).hexdigest()} != {patch.sha256 for patch in patches}:
        raise MachineError(
            f"{source} is not the file that mage-ai {VERSION} brings.",
            "Delete Mage's environment and start again: it is made again.",
        )
    if source is path:
        _replace(untouched, data.decode())
    text = data.decode()
    for edit in (edit for patch in patches for edit in patch.edits):
        if text.count(edit.old) != 1:
            raise MachineError(f"A patch of {path} does not fit.", f"It begins {edit.old[:60]!r}.")
        text = text.replace(edit.old, edit.new)
    if path.suffix == ".py":
        compile(text, str(path), "exec")
    return text


def _replace(path: Path, text: str) -> None:
    """Writes a new file and renames it: environments may share files by hard links."""
    replace_file(path, text)
