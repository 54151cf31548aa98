"""A process that parses has an owner from its first moment, whatever is raised meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from mage_dbt.workers.fork_server import ForkServer, Task
from mage_dbt.workers.forker import ForkerGone
from mage_dbt.workers.zygote import Zygotes
from tests.harness.base import command_line
from tests.harness.waiting import wait_until


def test_a_process_that_parses_ends_with_whoever_began_it(tmp_path: Path) -> None:
    words = ("--project-dir", str(tmp_path), "--target-path", str(tmp_path / "target"))
    zygotes = Zygotes("a test's")
    with (
        pytest.raises(ZeroDivisionError),
        ForkServer(Task(words, {}), dict(os.environ), tmp_path, "a trial", zygotes) as server,
    ):
        _ = 1 / 0
    wait_until("it to end", lambda: not psutil.pid_exists(server.pid) or "it is there")
    # What cannot even be said to it begins none.
    too_long = Task(words, {"x": "y" * 2_000_000})
    with pytest.raises(ForkerGone, match="too long"):
        ForkServer(too_long, dict(os.environ), tmp_path, "another trial", zygotes)
    zygotes.close()
    lines = map(command_line, psutil.process_iter())
    assert not [one for one in lines if "mage_dbt.dbt.process" in one and "another trial" in one]
