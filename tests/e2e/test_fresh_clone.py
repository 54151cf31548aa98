"""What a newcomer does: a fresh clone, one command, no environment there yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.workspace import Workspace, copy_checkout

NEWCOMERS_SECONDS = 600.0
"""The goal is 180 on two cores of its own; this is where a test gives up."""


@contextmanager
def cloned(folder: Path) -> Iterator[Workspace]:
    """A clone in a folder with an odd name; nothing is installed in it."""
    checkout = copy_checkout(folder / "a clone ü")
    workspace = Workspace(checkout / ".workspace", checkout)
    del workspace.environ["WORKSPACE_HOME"]
    workspace.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # as images of containers have it
    workspace.start_log = folder / "start.log"
    yield workspace
    if workspace.started:
        workspace.stop()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with cloned(tmp_path_factory.mktemp("newcomer")) as found:
        yield found


@pytest.mark.timeout(900)
def test_one_command_builds_the_demo(clone: Workspace) -> None:
    clone.start("--once")
    status = clone.wait(NEWCOMERS_SECONDS)
    assert status == 0, clone.output()
    assert re.search(r"^Success in .*: \d+ nodes", clone.output(), re.MULTILINE)
    assert clone.survivors() == []
    package = clone.checkout / "custom_blocks" / "src" / "mage_dbt"
    assert list(package.glob("launcher/__pycache__/start.*")), "the next start compiles all anew"


@pytest.mark.timeout(900)
def test_another_dbt_version_is_one_line_and_a_start(clone: Workspace) -> None:
    requirements = clone.checkout / "dbt" / "requirements.txt"
    text = requirements.read_text()
    requirements.write_text(re.sub(r"(?m)^dbt-core==.*$", "dbt-core==1.10.22", text))
    clone.start("--once")
    assert clone.wait(NEWCOMERS_SECONDS) == 0, clone.output()
    assert "asks for dbt-core==1.10.22, which dbt/requirements.lock does not pin" in clone.output()
    assert "dbt 1.10.22" in clone.output()


@pytest.mark.timeout(900)
def test_an_install_that_was_killed_is_done_again(tmp_path: Path) -> None:
    with cloned(tmp_path) as clone:
        clone.start("--once")
        clone.wait_for_output("uv==")
        clone.process.kill()
        clone.start("--help")
        assert clone.wait() == 0
        clone.start()
        clone.wait_for_output("PostgreSQL answers", NEWCOMERS_SECONDS)
