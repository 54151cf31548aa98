"""Our warm worker: called inside, asked for through the HTTP API, and through a Mage pipeline."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import psutil

from mage_dbt.model.run import Run, RunState
from mage_dbt.workers.child_process import MODULE
from mage_dbt.workers.pool import Pool
from mage_dbt_bench.contender import BuildFailed, Built
from mage_dbt_bench.contenders.cold import run_worker
from mage_dbt_bench.mage_pipeline import MagePipeline
from mage_dbt_bench.stack import Stack
from mage_dbt_bench.usage import tree_cpu

ANSWER_SECONDS = 30.0


class WarmInside:
    """The worker alone, without the runner's plan, queue and ledger."""

    name = "warm"
    what = "Our warm worker, called inside: a fork of a process that has parsed the commit."
    builds_all = ""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pool = Pool(stack.settings, stack.home)

    def prepare(self) -> None:
        """The first build parses and stays; the bench makes one that is not counted."""

    def build(self, model: str | None) -> Built:
        began = time.time()
        worker = self._pool.worker(self._stack.job(model))
        built = run_worker(worker, self._stack.last_folder, began)
        if worker.how != "warm":
            raise BuildFailed(f"the worker was {worker.how}")
        return built

    def cpu(self) -> float:
        """Its fork server and workers, and this thread, which does here what the runner does."""
        return time.thread_time() + sum(tree_cpu(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        """Its zygote, whose children its fork servers are, and those that were executed. The other
        contenders' processes are children of this one too."""
        found = []
        for one in psutil.Process().children():
            with suppress(psutil.Error):  # it has just ended
                if MODULE in one.cmdline():
                    found.append(one.pid)
        return found

    def close(self) -> None:
        self._pool.close()


class WarmApi:
    """`POST /v1/runs` on the runner's port: plan, line, ledger and all."""

    name = "warm_api"
    what = "The same through the HTTP API: POST /v1/runs, with plan, locks and ledger."
    builds_all = ""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{stack.settings.runner_port}",
            headers={"Authorization": f"Bearer {stack.home.api_token.read_text()}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )

    def prepare(self) -> None:
        """The runner keeps the live commit warm."""

    def build(self, model: str | None) -> Built:
        body = {"operation": "build", "why": "to be measured"}
        if model:
            body["select"] = model
        began = time.time()
        answer = self._http.post("/v1/runs", json=body)
        if answer.is_error:
            raise BuildFailed(f"{self.name}: {answer.text}")
        run = answer.json()["id"]
        for _ in self._stack.client.follow(run, lambda said: None):
            continue  # until its final state, as it happens and without asking
        over = time.time()
        _require_passed(self._stack.client.run(run))
        return Built(began, over)

    def cpu(self) -> float:
        return tree_cpu(self._stack.pid("runner"))

    def pids(self) -> list[int]:
        return [self._stack.pid("runner")]

    def close(self) -> None:
        self._http.close()


class WarmMage:
    """The pipeline `single_model_rerun`, started by its API trigger."""

    name = "warm_mage"
    what = "The same through Mage: the pipeline single_model_rerun by its API trigger."
    builds_all = "its build is the API's, seconds later"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pipeline: MagePipeline | None = None

    def prepare(self) -> None:
        self._stack.start_mage()
        self._pipeline = MagePipeline(
            self._stack.settings, self._stack.home, ("single_model_rerun",), self._stack.progress
        )

    def build(self, model: str | None) -> Built:
        assert self._pipeline is not None
        return self._pipeline.run("single_model_rerun", {"model": model, "why": "to be measured"})

    def cpu(self) -> float:
        """Mage's and the runner's."""
        return sum(tree_cpu(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        return [self._stack.pid("mage"), self._stack.pid("runner")]

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()


def _require_passed(run: Run) -> None:
    if run.state is not RunState.SUCCESS:
        raise BuildFailed(f"run {run.id}: {run.state} {run.detail}")
