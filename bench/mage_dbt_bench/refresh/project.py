"""The table that is refreshed: the same rows for every contender, in dbt's words and in SQLMesh's.

All rows hold the version that they are of, and each version has another number of rows. So every
answer of a reader shows whether it is whole (`readers.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mage_dbt_bench.project import PROFILE, Project
from mage_dbt_bench.refresh.readers import State

VERSIONS = "raw.versions"
"""What the models read: for each table its version and how many rows that has."""

WARM = "warm"
"""A model that reads nothing: its build shows that the runner is ready."""

COLUMNS = """\
    n as id,
    {version} as version,
    n * 37 % 1000 as amount,
    'customer ' || n % 5000 as customer,
    timestamp '2026-01-01' + n * interval '1 second' as ordered_at,
    md5(n::text) as reference
"""

SQLMESH_CONFIGURATION = """\
gateways:
  bench:
    connection:
      type: postgres
      host: "{{ env_var('WAREHOUSE_HOST') }}"
      port: {{ env_var('WAREHOUSE_PORT') }}
      user: "{{ env_var('WAREHOUSE_USER') }}"
      password: "{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD') }}"
      database: "{{ env_var('WAREHOUSE_DBNAME') }}"
default_gateway: bench
disable_anonymized_analytics: true
model_defaults:
  dialect: postgres
  start: 2026-01-01
"""


def generate_dbt(folder: Path, tables: Iterable[str]) -> Project:
    """A dbt project with one incremental model for each of `tables`."""
    models = folder / "models"
    models.mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(f"name: refresh\nversion: '1.0'\nprofile: {PROFILE}\n")
    (models / f"{WARM}.sql").write_text("select 1 as id\n")
    names = list(tables)
    for name in names:
        (models / f"{name}.sql").write_text(_dbt_model(name))
    return Project(folder, len(names) + 1, 0, WARM)


def generate_sqlmesh(folder: Path) -> Path:
    """A SQLMesh project without a model; `write_sqlmesh_model` adds it."""
    (folder / "models").mkdir(parents=True)
    (folder / "config.yaml").write_text(SQLMESH_CONFIGURATION)
    return folder


def write_sqlmesh_model(folder: Path, name: str, new: State) -> None:
    """Its one model, by its full name; another version is another model to SQLMesh."""
    (folder / "models" / "table.sql").write_text(
        f"MODEL (\n  name {name},\n  kind INCREMENTAL_BY_UNIQUE_KEY (unique_key id)\n);\n\n"
        f"select\n{COLUMNS.format(version=new.version)}"
        f"from generate_series(1, {new.rows}) as series(n)\n"
    )


def _dbt_model(name: str) -> str:
    return (
        "{{ config(materialized='incremental', unique_key='id') }}\n\n"
        f"select\n{COLUMNS.format(version='versions.version')}"
        f"from {VERSIONS} as versions, generate_series(1, versions.rows) as series(n)\n"
        f"where versions.name = '{name}'\n"
    )
