"""Airflow with Cosmos: execution mode LOCAL, dbt called by dbtRunner in the task's process.

A DAG of the one model, whose task runs `dbt build` for it and its tests (TestBehavior.BUILD),
loaded from the manifest. It is run by `dag.test()` in a process that has everything imported:
Airflow's scheduler, executor and API server are not in the way, which would add their seconds.
https://astronomer.github.io/astronomer-cosmos/configuration/execution-modes.html
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mage_dbt_bench.peers.serve import Build, Task, serve

DAG = "dbt_build"


def prepare(task: Task) -> Build:
    dags = Path(task.home) / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    (dags / f"{DAG}.py").write_text(_dag_file(task))
    os.environ |= {
        "AIRFLOW_HOME": task.home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
    }
    airflow = Path(sys.executable).parent / "airflow"
    subprocess.run([str(airflow), "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    sys.path.insert(0, str(dags))
    dag = __import__(DAG).dag

    def build(everything: bool) -> None:
        done = dag.test()
        if str(done.state) != "success":
            raise RuntimeError(f"the DAG run ended as {done.state}")

    return build


def _dag_file(task: Task) -> str:
    return f'''\
from pathlib import Path

from airflow.sdk import DAG
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

with DAG("{DAG}", schedule=None) as dag:
    DbtTaskGroup(
        project_config=ProjectConfig(
            dbt_project_path=Path({task.project!r}),
            manifest_path={task.project + "/target/manifest.json"!r},
            install_dbt_deps=False,
        ),
        profile_config=ProfileConfig(
            profile_name={task.profile!r},
            target_name={task.target!r},
            profiles_yml_filepath=Path({task.profiles!r}) / "profiles.yml",
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL, invocation_mode=InvocationMode.DBT_RUNNER
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[{task.model!r}],
            test_behavior=TestBehavior.BUILD,
        ),
    )
'''


if __name__ == "__main__":
    serve(prepare)
