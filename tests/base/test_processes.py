"""Waiting for processes that are not ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from mage_dbt.base.processes import ended, wait_until_ended
from tests.harness.waiting import SECONDS


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_a_process_that_nobody_reaps_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    process = psutil.Process(sleeper.pid)
    assert not ended(process)
    process.kill()
    assert wait_until_ended([process], SECONDS) == []
    assert process.status() == psutil.STATUS_ZOMBIE


def test_one_that_goes_on_is_given_back(sleeper: subprocess.Popen[bytes]) -> None:
    process = psutil.Process(sleeper.pid)
    assert wait_until_ended([process], 0.1) == [process]
