"""Dagster with dagster-dbt: assets of the manifest, materialized in a process that has them loaded.

Its webserver, daemon and run launcher are not in the way, which would add a process start.
dagster-dbt itself starts dbt's command line for each materialization.
https://docs.dagster.io/integrations/libraries/dbt/reference
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context`.
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, DagsterInstance, materialize
from dagster_dbt import DbtCliResource, build_dbt_asset_selection, dbt_assets

from mage_dbt_bench.peers.serve import Build, Task, serve


def prepare(task: Task) -> Build:
    manifest = Path(task.project) / "target" / "manifest.json"

    @dbt_assets(manifest=manifest)  # type: ignore[untyped-decorator]
    def models(context: AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        yield from dbt.cli(["build"], context=context).stream()

    dbt = DbtCliResource(
        project_dir=task.project,
        profiles_dir=task.profiles,
        profile=task.profile,
        target=task.target,
        dbt_executable=str(Path(sys.executable).parent / "dbt"),
    )
    one = build_dbt_asset_selection([models], dbt_select=task.model)
    instance = DagsterInstance.ephemeral()

    def build(everything: bool) -> None:
        selection = None if everything else one
        done = materialize([models], selection=selection, resources={"dbt": dbt}, instance=instance)
        if not done.success:
            raise RuntimeError("the materialization failed")

    return build


if __name__ == "__main__":
    serve(prepare)
