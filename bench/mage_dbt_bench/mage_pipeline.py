"""Pipeline runs in a Mage: started by the API trigger, watched until they are over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from mage_dbt.errors import Unavailable
from mage_dbt.home import Home
from mage_dbt.launcher.progress import Progress, wait_for
from mage_dbt.mage.api import MageApi
from mage_dbt.settings import Settings
from mage_dbt_bench.contender import BuildFailed, Built

TRIGGER_SECONDS = 120.0
RUN_SECONDS = 3600.0
POLL_SECONDS = 0.2


class MagePipeline:
    """The API triggers of one Mage, looked up once."""

    def __init__(
        self, settings: Settings, home: Home, pipelines: Iterable[str], progress: Progress
    ) -> None:
        """Waits until Mage, just started, knows the triggers of `pipelines`."""
        self._mage = MageApi(settings, home)
        self._progress = progress
        self._triggers = {name: self._trigger(name) for name in pipelines}

    def _trigger(self, pipeline: str) -> int:
        def probe() -> int | str:
            try:
                return self._mage.api_trigger(pipeline)
            except Unavailable as error:
                return str(error)

        return wait_for(f"the trigger of {pipeline}", probe, TRIGGER_SECONDS, self._progress)

    def run(self, pipeline: str, variables: Mapping[str, Any]) -> Built:
        """One pipeline run. Raises BuildFailed when it does not complete."""
        began = time.time()
        number = self._mage.fire(self._triggers[pipeline], variables)

        def probe() -> list[str] | str:
            try:
                status = str(self._mage.pipeline_run(number)["status"])
            except Unavailable as error:
                return str(error)
            return [status] if status in ("completed", "failed", "cancelled") else status

        [status] = wait_for(
            f"pipeline run {number}", probe, RUN_SECONDS, self._progress, POLL_SECONDS
        )
        if status != "completed":
            raise BuildFailed(f"{pipeline}: Mage's pipeline run {number} is {status}")
        return Built(began, time.time())

    def close(self) -> None:
        self._mage.close()
