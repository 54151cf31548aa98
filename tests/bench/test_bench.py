"""`./scripts/bench` on a small project: every figure is there. None is judged here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT
from tests.harness import environments

pytestmark = [pytest.mark.side_by_side, pytest.mark.timeout(1800)]

FURTHER = pytest.param(("floor", "warm", "cold"), marks=pytest.mark.thorough, id="further")


@pytest.mark.parametrize(
    "contenders", [pytest.param(("floor", "warm_api", "cli"), id="usual"), FURTHER]
)
def test_the_bench_measures_each_contender_and_writes_what_it_found(
    contenders: tuple[str, ...], tmp_path: Path
) -> None:
    environments.share(Home(tmp_path / "home"))
    report, drawn = tmp_path / "report.json", tmp_path / "picture.svg"
    command = [str(CHECKOUT / "scripts" / "bench"), "--models", "10", "--repeats", "1"]
    command += ["--contenders", ",".join(contenders), "--without-mage"]
    done = subprocess.run(
        [*command, "--json", str(report), "--picture", str(drawn)],
        env=os.environ | {"WORKSPACE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert told["models"] == 10 and set(told["contenders"]) == set(contenders)
    assert told["left_out"] == {}
    for name, one in told["contenders"].items():
        assert 0 < one["to_sql_s"]["min"] <= one["to_sql_s"]["median"] < one["wall_s"]["min"], name
        assert one["cpu_s"] >= 0 and name in done.stdout
    for name in contenders[1:]:
        one = told["contenders"][name]
        assert one["full_build_s"] > 0 and one["full_build_cpu_s"] > 0
        assert one["full_build_pss_mb"]["all"] > told["idle_pss_mb"]["postgres"] > 0
    assert ("new_commit" in told) == ("warm_api" in contenders)
    if commit := told.get("new_commit"):
        assert commit["ready_s"]["min"] > 0 and commit["dbt_parse_s"]["min"] > 0
        assert commit["to_sql_meanwhile_s"]["requests"] > 0 and "to_sql_meanwhile_s" in done.stdout
    assert drawn.read_text().startswith("<svg")
    assert not (tmp_path / "home" / "bench").exists()


@pytest.mark.thorough
def test_the_bench_refreshes_under_readers_and_says_what_they_saw(tmp_path: Path) -> None:
    environments.share(Home(tmp_path / "home"))
    report = tmp_path / "report.json"
    command = [str(CHECKOUT / "scripts" / "bench"), "--refresh", "--rows", "2000"]
    command += ["--repeats", "1", "--contenders", "stock,ours,ours_compared"]
    done = subprocess.run(
        [*command, "--json", str(report)],
        env=os.environ | {"WORKSPACE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["left_out"] == {} and set(found["contenders"]) == {
        *("stock", "ours", "ours_compared"),
    }
    for name, figures in found["contenders"].items():
        assert figures["seconds"]["min"] > figures["after_create_s"] > 0, name
        assert figures["reads"] > 0 and figures["beside_old"]["reads"] > 0 and name in done.stdout
    stock, ours = (found["contenders"][name] for name in ("stock", "ours_compared"))
    assert stock["lost"] == {"views": 3, "grants": 4, "comments": 2, "indexes": 1}
    assert stock["errors"] > 0 and stock["times_stock"] == 1
    assert set(ours["lost"].values()) == {0} and ours["errors"] == ours["wrong"] == 0
    assert ours["own_lock_s"] > 0 and ours["compare_s"] > 0


@pytest.mark.thorough
def test_the_bench_asks_for_every_page_beside_a_long_history(tmp_path: Path) -> None:
    environments.share(Home(tmp_path / "home"))
    report = tmp_path / "report.json"
    command = [str(CHECKOUT / "scripts" / "bench"), "--pages", "--models", "20", "--runs", "1000"]
    command += ["--nodes", "900", "--dailies", "3", "--follow", "2"]
    done = subprocess.run(
        [*command, "--json", str(report)],
        env=os.environ | {"WORKSPACE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["models"] == 20 and found["runs"] == 1000
    for name, figures in found["pages"].items():
        assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["p95_ms"], name
        assert figures["first_ms"] > 0 and figures["kb"] > 0 and name in done.stdout
    assert {"now", "runs", "run: green", "models", "live: now"} <= found["pages"].keys()
    assert 0 < found["first_page_kb"]["page"] < found["first_page_kb"]["all"]
    assert found["followed"]["parts_a_second"] > 0
    assert 0 < found["picker_ms"]["median"] <= found["picker_ms"]["max"]
