"""A harness whose Mage runs pipelines: triggers them, waits for them, reads what Mage shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from mage_dbt.errors import Unavailable
from mage_dbt.mage.api import MageApi
from mage_dbt.mage.project import API_TRIGGER
from tests.harness.base import Harness
from tests.harness.waiting import SECONDS, wait_until

ENDED = ("completed", "failed", "cancelled")

HOLD = """
import os, time
from pathlib import Path

def hold():
    while (Path(os.environ["HOME"]) / "held").exists():
        time.sleep(0.05)
"""
"""Code of blocks that a test holds: they call `hold`."""

PIPELINE_SECONDS = 300.0


class WithMage(Harness):
    """Asks a Mage, as its page or a client of its API does."""

    @contextmanager
    def mage_api(self) -> Iterator[MageApi]:
        with MageApi(self.settings, self.home) as api:
            yield api

    @property
    def mage_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.mage_port}"

    def add_pipeline(self, name: str, code: str, kind: str = "custom", **block: Any) -> None:
        """A pipeline of one block, with our API trigger; `block` changes what the block says."""
        language = block.get("language", "python")
        declared = {"uuid": name, "name": name, "type": kind, "language": language}
        declared |= {"upstream_blocks": [], "downstream_blocks": [], **block}
        pipeline = {"name": name, "uuid": name, "type": "python", "blocks": [declared]}
        trigger = {
            **{"name": API_TRIGGER, "schedule_type": "api", "status": "active"},
            **{"schedule_interval": None, "start_time": None},
            "token": self.home.mage_trigger_token.read_text(),
        }
        folder = self.home.mage_project / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "metadata.yaml").write_text(yaml.safe_dump(pipeline))
        (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))
        folder_of = {"custom": "custom", "data_loader": "data_loaders"}
        ending = {"python": "py", "sql": "sql"}[language]
        file = self.home.mage_project / folder_of[kind] / f"{name}.{ending}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)

    @contextmanager
    def blocks_held(self) -> Iterator[None]:
        """Blocks that call `hold` go on only when this is over."""
        held = self.home.root / "held"
        held.touch()
        try:
            yield
        finally:
            held.unlink()

    def trigger(self, pipeline: str, **variables: Any) -> int:
        """Starts a pipeline, once Mage knows its trigger; gives the pipeline run's number."""

        def started() -> int | str:
            try:
                with self.mage_api() as api:
                    return api.fire(api.api_trigger(pipeline), variables)
            except Unavailable as error:
                return str(error)

        return wait_until(f"the trigger of {pipeline}", started, PIPELINE_SECONDS)

    def trigger_id(self, pipeline: str) -> int:
        """Mage's number for our API trigger of the pipeline."""
        with self.mage_api() as api:
            return api.api_trigger(pipeline)

    def cancel(self, number: int) -> None:
        """Mage's own "Cancel"."""
        with self.mage_api() as api:
            api.cancel(number)

    def retry(self, number: int) -> None:
        """Mage's own "Retry incomplete blocks"."""
        with self.mage_api() as api:
            api.retry(number)

    def pipeline_run(self, number: int) -> Mapping[str, Any]:
        with self.mage_api() as api:
            return api.pipeline_run(number)

    def status(self, number: int) -> str:
        """What Mage says of a pipeline run now."""
        return str(self.pipeline_run(number)["status"])

    def begun(self, number: int) -> None:
        """Waits until a pipeline run runs, which a test has to hold."""
        self.ended(number, "running")

    def ended(self, number: int, *wanted: str) -> str:
        """Waits until a pipeline run has one of the statuses; any final one unless it is said."""

        def probe() -> list[str] | str:
            try:
                status = self.status(number)
            except Unavailable as error:
                return str(error)
            return [status] if status in (wanted or ENDED) else f"it is {status}"

        return wait_until(f"pipeline run {number} to be over", probe, PIPELINE_SECONDS)[0]

    def block_log(self, pipeline: str, number: int) -> str:
        """What Mage shows on the block's log page."""
        partition = self.pipeline_run(number)["variables"]["execution_partition"]
        parts = ("pipelines", pipeline, ".logs", partition, f"{pipeline}.log")
        found = list(self.home.mage_data.rglob(str(Path(*parts))))
        assert len(found) == 1, found
        return found[0].read_text()

    def shown(self, number: int) -> list[dict[str, Any]]:
        """What Mage shows as the output of the pipeline run's last block."""
        block = self.pipeline_run(number)["block_runs"][-1]["id"]
        with httpx.Client(base_url=self.mage_url, timeout=SECONDS, trust_env=False) as http:
            found: list[dict[str, Any]] = http.get(f"/api/block_runs/{block}/outputs").json()[
                "outputs"
            ]
        return found

    def table(self, number: int) -> dict[str, dict[str, Any]]:
        """That output where it is a table of nodes: a row a node, by the node's name."""
        table = self.shown(number)[0]["sample_data"]
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        return {row["node"]: row for row in rows}
