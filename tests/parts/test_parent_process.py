"""A process that parses has an owner from its first moment, whatever is raised meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from mage_dbt.worker.fork_server_process import ForkServers
from mage_dbt.worker.forker import ParentGone
from mage_dbt.worker.parent_process import Parent, Task
from tests.harness.base import command_line
from tests.harness.waiting import wait_until


def test_a_process_that_parses_ends_with_whoever_began_it(tmp_path: Path) -> None:
    words = ("--project-dir", str(tmp_path), "--target-path", str(tmp_path / "target"))
    servers = ForkServers("a test's")
    with (
        pytest.raises(ZeroDivisionError),
        Parent(Task(words, {}), dict(os.environ), tmp_path, "a trial", servers) as parent,
    ):
        _ = 1 / 0
    wait_until("it to end", lambda: not psutil.pid_exists(parent.pid) or "it is there", 10.0)
    # What cannot even be said to it begins none.
    too_long = Task(words, {"x": "y" * 2_000_000})
    with pytest.raises(ParentGone, match="too long"):
        Parent(too_long, dict(os.environ), tmp_path, "another trial", servers)
    servers.close()
    lines = map(command_line, psutil.process_iter())
    assert not [one for one in lines if "dbt_process" in one and "another trial" in one]
