"""The bench's own parts: the project it makes, the log it reads, what it draws and adds up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mage_dbt_bench import picture, results
from mage_dbt_bench.project import generate
from mage_dbt_bench.refresh import results as refresh_results
from mage_dbt_bench.refresh.by_hand import Things
from mage_dbt_bench.refresh.readers import Seen, State, Truth
from mage_dbt_bench.results import Measured
from mage_dbt_bench.sql_log import first_create

LOG = b"""\
2026-11-24 08:00:00.001 UTC [7] dbt@warehouse mage-dbt LOG:  statement: /* {"app": "dbt"} */

\t  create view "warehouse"."analytics"."model_00001__dbt_tmp"
\t    as (select 1)
2026-11-24 08:00:00.250 UTC [7] dbt@warehouse mage-dbt LOG:  statement: /* {"app": "dbt"} */

\t  create  table "warehouse"."analytics"."model_00007__dbt_tmp"
\t    as (select 1)
2026-11-24 08:00:00.300 UTC [8] dbt@warehouse  LOG:  statement: create table floor."model_00007" as
"""


def texts(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_same_seed_makes_the_same_project(tmp_path: Path) -> None:
    one, two = (generate(tmp_path / name, models=30, seed=4) for name in ("one", "two"))
    other = generate(tmp_path / "other", models=30, seed=5)
    assert texts(one.folder) == texts(two.folder) != texts(other.folder)
    assert one.measured == two.measured
    assert len(list((one.folder / "models").rglob("*.sql"))) == 30


@pytest.mark.parametrize("models", [3, 10, 500])
def test_what_is_measured_alone_is_a_table_on_other_models(tmp_path: Path, models: int) -> None:
    project = generate(tmp_path / "project", models, seed=1)
    [file] = (project.folder / "models").rglob(f"{project.measured}.sql")
    assert "materialized" not in file.read_text() and "ref('model_" in file.read_text()


def test_the_time_of_a_create_is_the_servers_when_it_began() -> None:
    at = first_create(LOG, "model_00007")
    assert at is not None and at % 60 == pytest.approx(0.25)


@pytest.mark.parametrize("relation", ["model_00001", "model_0000", "model_00008"])
def test_a_view_or_another_relation_is_no_create_of_the_table(relation: str) -> None:
    assert first_create(LOG, relation) is None


def report() -> dict[str, Any]:
    measured = {
        "floor": Measured("a driver", to_sql=[0.004], wall=[0.01], cpu=[0.01]),
        "warm": Measured("a fork", to_sql=[0.3, 0.2, 0.25], wall=[0.5], cpu=[0.2]),
        "cli": Measured("a process", to_sql=[4.0], wall=[5.0], cpu=[4.0], full_build=[60.0],
                        full_build_cpu=[80.0]),
    }  # fmt: skip
    about = {
        "models": 500,
        "repeats": 3,
        "machine": {"cores": 2},
        "versions": {"dbt-core": "1.11.16"},
    }
    return results.to_json(measured, about, {"airflow_cosmos": "it does not start"})


def test_a_report_has_minimum_median_and_ratios() -> None:
    told = report()["contenders"]
    assert told["warm"]["to_sql_s"] == {"min": 0.2, "median": 0.25, "all": [0.3, 0.2, 0.25]}
    assert told["cli"]["times_warm"] == 16.0 and told["warm"]["times_cli"] == 0.0625
    assert told["cli"]["full_build_s"] == 60.0


def test_the_table_names_what_was_left_out_and_why() -> None:
    assert "airflow_cosmos: left out, it does not start" in results.table(report())


def test_the_picture_has_a_labelled_bar_for_each_contender() -> None:
    root = ElementTree.fromstring(picture.svg(report()))
    said = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"250 ms", "4.0 s", "dbt build --select …"} <= set(said)


def test_a_version_is_allowed_from_its_begin_and_the_old_one_while_a_read_may_have_begun() -> None:
    old, new = State.of(3, version=1), State.of(4, version=2)
    truth = Truth(old)
    before = time.monotonic()
    truth.allow(old, new)
    truth.allow(new)
    after = time.monotonic()
    assert truth.between(before, after) == {old, new}
    assert truth.between(after, after + 1) == {new}
    assert Seen(old).fits(frozenset({old})) and not Seen(State(3, 4)).fits(frozenset({old, new}))
    assert Seen(version=2).fits(frozenset({old, new})) and not Seen().fits(frozenset({old}))


def test_a_round_of_refreshes_is_compared_with_stock_dbts() -> None:
    def measured(seconds: float, lost: Things) -> refresh_results.Measured:
        found = refresh_results.Round(seconds, None, 0.01, None, None, 0.02, 9, 1, 0, lost, ("x",))
        return refresh_results.Measured("A way.", [found], [found])

    contenders = {
        "stock": measured(4.0, Things(views=3)),
        "ours": measured(5.0, Things()),
    }
    report = refresh_results.to_json(contenders, {"rows": 50_000, "rounds": 1}, {"sqlmesh": "no"})
    assert report["contenders"]["ours"]["times_stock"] == 1.25
    text = "\n".join(refresh_results.table(report))
    assert "1.25" in text and "50,000 rows" in text and "sqlmesh: left out, no" in text
