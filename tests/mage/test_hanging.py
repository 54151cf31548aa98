"""A Mage that hangs is ended and started again by who supervises it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mage_dbt.launcher import programs
from mage_dbt.launcher.programs import Databases
from mage_dbt.launcher.supervisor import Supervisor
from mage_dbt.mage.api import as_the_runner
from tests.harness import environments
from tests.harness.mage import Mage
from tests.harness.waiting import SECONDS, progress, wait_until
from tests.mage.test_gateway import HANGS

SILENCE = 8.0
"""Seconds, instead of two minutes."""

BACK_SECONDS = 300.0


def test_a_mage_that_a_regular_expression_hangs_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mage = Mage(tmp_path)
    environments.share(mage.home)
    for folder in (mage.home.logs, mage.home.mage_data):
        folder.mkdir(parents=True, exist_ok=True)
    databases = Databases(f"sqlite:///{tmp_path}/mage.db", "", {})
    program = programs.mage(mage.settings, mage.home, databases)
    assert program.liveness and program.liveness.seconds == programs.MAGE_SILENCE
    supervisor = Supervisor(mage.home, progress())
    supervisor.start(replace(program, liveness=replace(program.liveness, seconds=SILENCE)))
    try:
        supervisor.wait("mage")
        with httpx.Client(
            base_url=mage.mage_url,
            headers=as_the_runner(mage.home),
            trust_env=False,
            timeout=SECONDS,
        ) as http:
            with suppress(httpx.HTTPError):  # the runner's own calls pass the gateway as they are
                http.get("/api/files", params={"exclude_pattern": HANGS}, timeout=2)  # has to pass
            # On a busy machine it may be ended already.
            with pytest.raises(httpx.TransportError):
                http.get("/api/statuses", timeout=2)  # has to pass

            def back() -> bool | str:
                try:
                    return http.get("/api/statuses").status_code == 200 or "no 200"
                except httpx.HTTPError as error:
                    return repr(error)

            wait_until("Mage to answer again", back, BACK_SECONDS)
        assert f"mage has answered nothing for {SILENCE:.0f} s" in capsys.readouterr().out
    finally:
        supervisor.stop([["mage"]])
