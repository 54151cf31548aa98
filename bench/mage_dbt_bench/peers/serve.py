"""The talk between the bench and a process of another orchestrator: a JSON line each way.

Standard library only: it runs in every environment.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Task:
    """What is to be built, and with what."""

    project: str
    """The folder of dbt_project.yml; its `target` holds manifest.json and the partial parse."""
    profiles: str
    profile: str
    target: str
    model: str
    """The one model that is built alone."""
    home: str
    """A folder of the orchestrator's own."""

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


Build = Callable[[bool], None]
"""Builds the model with its tests, or everything; raises when not all passed."""


def serve(prepare: Callable[[Task], Build]) -> None:
    """Prepares, then builds once for each line `one` or `all`, until the input ends."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the orchestrator prints goes to the log
    task = Task(**json.loads(sys.stdin.readline()))
    try:
        build = prepare(task)
    except Exception:
        traceback.print_exc()
        answer.write(json.dumps({"failed": traceback.format_exc(limit=-2)}) + "\n")
        return
    answer.write(json.dumps({"failed": ""}) + "\n")
    for line in sys.stdin:
        failed = ""
        try:
            build(line.strip() == "all")
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {error}"
        answer.write(json.dumps({"failed": failed}) + "\n")
