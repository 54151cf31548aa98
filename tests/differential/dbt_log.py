"""What dbt says in its log while it executes: a line or more for each node, and the summary.

What is said before (of parsing, which a fork server has done) is not read, nor what is
only said for debugging. A node's place in the order, and how long anything took, are left out, and
so is how many dots fill the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

COMPILED = re.compile(r"^(\w+: )Compiled node '[^']*' is:\n")
"""What `compile` says before the SQL of the one node it was asked for, unless it is `--quiet`."""

FIRST = "Concurrency: "
"""Said when dbt has selected, before its first node."""

BEGINS = re.compile(r"^\d\d:\d\d:\d\d\.\d+ \[(\w+) *\] \[[^\]]*\]: ")

OF_THE_RUN = (
    (re.compile(r"^\d+ of (\d+) "), r"# of \1 "),
    (re.compile(r" \.* \["), " ... ["),  # none where the line is full
    (re.compile(r" in \d+\.\d+s\]"), " in #]"),
    (re.compile(r" in \d+ hours \d+ minutes and .*"), " in #"),
)


def read(text: str) -> Iterator[str]:
    """Each message of the log `text` with its level, from the last command's first node on."""
    began = text.rfind(FIRST)
    if began < 0:
        return
    message = ""
    for line in text[began:].splitlines():
        begins = BEGINS.match(line)
        if begins is None:
            message += f"\n{line}" if message else ""
            continue
        if message:
            yield COMPILED.sub(r"\1", message)
        level, said = begins[1], line[begins.end() :]
        for of_the_run, instead in OF_THE_RUN:
            said = of_the_run.sub(instead, said)
        message = f"{level}: {said}" if level != "debug" and said.strip() else ""
    if message:
        yield COMPILED.sub(r"\1", message)
