"""dbt's documentation of a commit as one file of HTML: what `dbt docs generate --static` makes.

dbt makes the catalog, whose queries are all that touches the warehouse, and has the page. Here they
are put together as dbt does, but so that no text of theirs can end the script it stands in.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbt.parser.manifest import write_manifest
from dbt.task.docs import DOCS_INDEX_FILE_PATH

from mage_dbt.base.files import new_file
from mage_dbt.base.redaction import scrub
from mage_dbt.dbt.parsing import by_machine
from mage_dbt.dbt.plan.refusals import refusal
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.results.recorder import message_of

CATALOG = "catalog.json"

PLACES = re.compile('"(MANIFEST|CATALOG)[.]JSON INLINE DATA"')
"""Where dbt's page takes its data, as it is written there; dbt replaces the same."""

PACKING = 5
"""gzip's level: a manifest of 5,000 models packs to a tenth within seconds."""


def write_docs(project: Project, arguments: Sequence[str], file: Path) -> dict[str, Any]:
    """Writes the documentation into `file`, packed with gzip. Gives the answer to the runner.

    `arguments` are dbt's flags for any command.
    """
    target = Path(arguments[arguments.index("--target-path") + 1])
    write_manifest(project.manifest, str(target))
    # Not compiled: that would have models ask the warehouse whatever they like.
    done = project.invoke(["docs", "generate", *arguments, "--no-compile"])
    if not (target / CATALOG).is_file():
        kind = "machine" if by_machine(done.exception) else "docs"
        return refusal(kind, message_of(done.exception))
    problems = [scrub(str(problem)) for problem in getattr(done.result, "errors", None) or ()]
    if problems and not done.result.nodes and not done.result.sources:
        return refusal("docs", problems[0])  # the warehouse is away: it is made another time
    page = Path(DOCS_INDEX_FILE_PATH).read_text()
    if len(set(PLACES.findall(page))) != 2:
        return refusal("docs", "The documentation of this dbt is no single file.")
    whole = PLACES.sub(
        lambda place: _for_a_script((target / f"{place[1].lower()}.json").read_text()), page
    )
    with new_file(file) as aside:
        aside.write_bytes(gzip.compress(whole.encode(), PACKING))
    return {"refused": "", "notes": problems}


def _for_a_script(text: str) -> str:
    """JSON as it may stand in an HTML page's script, without secrets. `<` is in texts only."""
    return scrub(text).replace("<", "\\u003c")
