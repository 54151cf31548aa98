"""Mage's own dbt block: an unpatched Mage, a pipeline of one YAML block, by its API trigger.

As Mage's documentation has it: the dbt project lies in the Mage project, the block's text is the
flags. Mage runs `dbt deps` and `dbt build` in the block's process, its own variables as --vars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.home import Home
from mage_dbt.launcher.environments import MAGE_BLOCK, python_of
from mage_dbt.launcher.subreaper import Launch
from mage_dbt.launcher.supervisor import Program
from mage_dbt.mage import process
from mage_dbt.mage.project import API_TRIGGER
from mage_dbt.settings import Settings
from mage_dbt_bench.contender import Built
from mage_dbt_bench.mage_pipeline import MagePipeline
from mage_dbt_bench.project import copy
from mage_dbt_bench.stack import Stack, free_ports
from mage_dbt_bench.usage import tree_cpu

NAME = "mage-dbt-block"


class MageBlock:
    """A whole Mage of its own; it stays, and each build is a pipeline run."""

    name = "mage_dbt_block"
    what = "Mage's own dbt block, unpatched: a pipeline run by its API trigger, then dbt in Mage."
    builds_all = ""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._home = Home(stack.home.root / NAME)
        self._settings = Settings.load(
            {"WORKSPACE_HOME": str(self._home.root), "MAGE_PORT": str(free_ports(1)[0])},
            self._home.root / "no.env",
        )
        self._pipeline: MagePipeline | None = None

    def prepare(self) -> None:
        read_or_make(self._home.runner_to_mage_secret)  # our client of its API sends it
        token = read_or_make(self._home.mage_trigger_token).replace("-", "_")
        self._home.mage_trigger_token.write_text(token)
        project = self._home.mage_project
        _write(project / "metadata.yaml", {
            "project_type": "standalone", "variables_dir": "../data", "help_improve_mage": False,
            "project_uuid": "0" * 32,
        })  # fmt: skip
        dbt = copy(self._stack.project.folder, project / "dbt" / "bench")
        self._profiles(dbt)
        for name, flags in (
            ("build_one", f"--select {self._stack.project.measured}"),
            ("build_all", ""),
        ):
            self._write_pipeline(project, name, flags, token)
        self._stack.start_program(self._program())
        pipelines = ("build_one", "build_all")
        self._pipeline = MagePipeline(self._settings, self._home, pipelines, self._stack.progress)

    def build(self, model: str | None) -> Built:
        assert self._pipeline is not None
        return self._pipeline.run("build_one" if model else "build_all", {})

    def cpu(self) -> float:
        return tree_cpu(self._stack.pid(NAME))

    def pids(self) -> list[int]:
        return [self._stack.pid(NAME)]

    def close(self) -> None:
        """The stack ends it."""
        if self._pipeline is not None:
            self._pipeline.close()

    def _profiles(self, dbt: Path) -> None:
        """Mage reads profiles.yml in the dbt project, and there what dbt_project.yml names."""
        given = yaml.safe_load((self._stack.profile.folder / "profiles.yml").read_text())
        [embedded] = given.values()
        arguments = self._stack.warehouse_arguments()
        for output in embedded["outputs"].values():
            # Mage expands templates itself, and knows no filter as_number.
            output |= {"port": int(arguments["port"]), "host": arguments["host"]}
            for name, value in output.items():
                if isinstance(value, str):  # and no quote that YAML has doubled
                    output[name] = value.replace("'", '"')
        _write(dbt / "profiles.yml", {"bench": embedded})

    @staticmethod
    def _write_pipeline(project: Path, name: str, flags: str, token: str) -> None:
        folder = project / "pipelines" / name
        block = {
            "uuid": name, "name": name, "type": "dbt", "language": "yaml",
            "upstream_blocks": [], "downstream_blocks": [],
            "configuration": {
                "dbt": {"command": "build"},
                "dbt_profiles_file_path": "dbt/bench/profiles.yml",
            },
        }  # fmt: skip
        _write(
            folder / "metadata.yaml",
            {"name": name, "uuid": name, "type": "python", "blocks": [block]},
        )
        trigger = {
            "name": API_TRIGGER, "schedule_type": "api", "status": "active",
            "schedule_interval": None, "start_time": None, "token": token,
        }  # fmt: skip
        _write(folder / "triggers.yaml", {"triggers": [trigger]})
        (project / "dbts").mkdir(exist_ok=True)
        (project / "dbts" / f"{name}.yaml").write_text(flags + "\n")

    def _program(self) -> Program:
        database = f"sqlite:///{self._home.root}/mage.db"
        python = python_of(self._stack.home, MAGE_BLOCK)
        return Program(
            name=NAME,
            launch=Launch(
                process.command(python, self._settings, self._home),
                str(self._home.root),
                grace=3.0,
            ),
            environment={
                **self._stack.dbt_environment(),
                **process.environment(self._settings, self._home, database),
            },
            probe=lambda: process.problem(self._settings, self._home),
            patience=240.0,
        )


def _write(file: Path, data: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(data, sort_keys=False))
