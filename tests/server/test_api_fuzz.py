"""Schemathesis calls the HTTP API of a live runner with what its OpenAPI document allows and does
not allow. `--fuzz-examples` (for each operation) and `--fuzz-seed` are options of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from mage_dbt.errors import Conflict
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

CONFIG = Path(__file__).with_name("schemathesis.toml")

POLL_SECONDS = 0.2


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    """A runner that lets one caller call as often as the fuzz does."""
    settings = {"RUNNER_CALLS_PER_MINUTE": "1000000", "RUNNER_PARALLEL_RUNS": "1"}
    folder = tmp_path_factory.mktemp("fuzz")
    with runners.on_project(folder, server, "steps", **settings) as found:
        yield found


class Canceller(threading.Thread):
    """Ends every run while the fuzz goes on, so that dbt builds nothing for it."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(daemon=True)
        self._client = runner.client
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self.sweep()

    def sweep(self) -> None:
        for state in ("Running", "Starting", "Queued"):
            for run in self._client.runs(limit=500, state=state):
                with suppress(Conflict):  # it was over before
                    self._client.cancel(run.id, "by the fuzz")

    def finish(self) -> None:
        self._done.set()
        self.join()
        self.sweep()


@pytest.mark.timeout(7200)
def test_no_call_that_the_document_allows_or_forbids_breaks_the_api(
    runner: Runner, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    canceller = Canceller(runner)
    canceller.start()
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    token = runner.home.api_token.read_text()
    served = httpx.get(
        f"{address}/openapi.json",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=SECONDS,
    )
    assert served.status_code == 200, served.text
    document = tmp_path / "openapi.json"
    document.write_bytes(served.content)
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "schemathesis.cli"),
            *("--config-file", str(CONFIG), "run", str(document)),
            *("--url", address, "--checks", "all", "--no-color"),
            *("--max-examples", str(pytestconfig.getoption("fuzz_examples"))),
            *("--seed", str(pytestconfig.getoption("fuzz_seed"))),
        ],
        env={**os.environ, "API_TOKEN": token, "NO_PROXY": "127.0.0.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    canceller.finish()
    print(done.stdout)  # the figures, for who runs pytest with -s
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    log = (runner.home.logs / "runner.log").read_text()
    assert "Traceback" not in log, log[-5_000:]
    assert runner.client.ping()
