"""What a start refuses before it starts anything, in words a person can act on."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mage_dbt.settings import CHECKOUT
from tests.conftest import not_run
from tests.harness.waiting import SECONDS
from tests.harness.workspace import Workspace

START = CHECKOUT / "scripts" / "start"


def start(workspace: Workspace, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(START), "--once"],
        env={**workspace.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("setting", ["MAGE_PORT", "RUNNER_PORT", "POSTGRES_PORT"])
def test_a_taken_port_is_named_with_its_setting(new_workspace: Workspace, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        status, said = start(new_workspace, **{setting: str(port)})
    assert status == 1
    assert f"Port {port}" in said
    assert f"set {setting}" in said
    assert not new_workspace.home.postgres.exists()


def test_two_settings_with_one_port_are_refused(new_workspace: Workspace) -> None:
    port = new_workspace.environ["MAGE_PORT"]
    status, said = start(new_workspace, RUNNER_PORT=port)
    assert status == 1
    assert f"RUNNER_PORT and MAGE_PORT are both {port}" in said


def test_an_unknown_setting_is_named(new_workspace: Workspace) -> None:
    status, said = start(new_workspace, DBT_METRIC_REFF="main")
    assert status == 2
    assert "Unknown setting DBT_METRIC_REFF" in said
    assert "Did you mean DBT_METRIC_REF" in said


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_another_python_is_refused_by_its_version(
    new_workspace: Workspace, tmp_path: Path, version: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    status, said = start(new_workspace, WORKSPACE_PYTHON=str(python))
    assert status == 2
    assert "needs Python 3.11 or 3.12" in said
    assert version in said
    assert "WORKSPACE_PYTHON" in said


def test_a_machine_without_git_is_told_so(new_workspace: Workspace, tmp_path: Path) -> None:
    for name in ("sh", "dirname", "sed", "tail", "tr"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    status, said = start(new_workspace, PATH=str(tmp_path), WORKSPACE_PYTHON=sys.executable)
    assert status == 2
    assert "needs git" in said


def test_a_home_that_cannot_be_made_names_the_setting(
    new_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    status, said = start(new_workspace, WORKSPACE_HOME=str(tmp_path / "file" / "home"))
    assert status == 1
    assert "WORKSPACE_HOME" in said
    assert "Traceback" not in said


def test_a_small_disk_is_refused_before_the_install(
    new_workspace: Workspace, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        not_run("only root can mount a small disk")
    try:
        status, said = start(new_workspace, WORKSPACE_HOME=str(disk / "home"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert status == 1
    assert "MB free" in said
    assert "WORKSPACE_HOME" in said


def cpu_of_children() -> float:
    """Seconds of CPU of all children that have ended: alike on an idle and on a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_starts_nothing(new_workspace: Workspace) -> None:
    before = cpu_of_children()
    done = subprocess.run(
        [str(START), "--help"], env=new_workspace.environ, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--once" in done.stdout
    assert cpu_of_children() - before < 5
    assert not new_workspace.home.logs.exists()
