"""A local package beside the project's folder: its files are followed like the project's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness.database import Database
from tests.harness.repository import git
from tests.harness.runner import Runner, on_project


@pytest.fixture
def nested(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("nested")
    with on_project(folder, server, "nested", DBT_METRIC_SUBDIR="dbt") as runner:
        yield runner


def test_a_model_renamed_in_a_package_outside_the_project_is_followed(nested: Runner) -> None:
    run = nested.run()
    assert run.state is RunState.ERROR and "rate" in run.detail
    models = nested.repository / "shared" / "models"
    git(nested.repository, "mv", "shared/models/rate.sql", "shared/models/rates.sql")
    repaired = (models / "rates.sql").read_text().replace("1.0 / 0", "1.0")
    (models / "rates.sql").write_text(repaired)
    nested.publish("Rename rate and repair it")
    plan = nested.client.plan(Request.parse({"operation": "rerun_failed", "of": run.id})).to_json()
    assert [one["node"] for one in plan["nodes"]] == ["model.shared.rates"]
    assert plan["nodes"][0]["path"] == "../shared/models/rates.sql"
    assert plan["notes"] == ["rate was renamed to rates."]
