"""Prefect with prefect-dbt: a flow that calls dbt in its own process, which has it imported.

The flow is called in a process that stays, with a Prefect server running: a deployment would add
its worker's poll and a process start.
https://docs.prefect.io/integrations/prefect-dbt
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

from mage_dbt_bench.peers.serve import Build, Task, serve


def prepare(task: Task) -> Build:
    settings = PrefectDbtSettings(project_dir=Path(task.project), profiles_dir=Path(task.profiles))
    common = ["--profile", task.profile, "--target", task.target]

    @flow(name="dbt build")  # type: ignore[untyped-decorator]
    def build_models(select: tuple[str, ...]) -> None:
        PrefectDbtRunner(settings=settings).invoke(["build", *select, *common])

    def build(everything: bool) -> None:
        build_models(() if everything else ("--select", task.model))

    return build


if __name__ == "__main__":
    serve(prepare)
