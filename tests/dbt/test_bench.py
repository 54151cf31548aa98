"""`./scripts/bench` on a small project: every figure is there. None is judged here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.settings import CHECKOUT
from tests.harness import environments

CONTENDERS = ("floor", "warm", "warm_api", "cold", "cli")


def test_the_bench_measures_each_contender_and_writes_what_it_found(tmp_path: Path) -> None:
    environments.share(Home(tmp_path / "home"))
    report, drawn = tmp_path / "report.json", tmp_path / "picture.svg"
    command = [str(CHECKOUT / "scripts" / "bench"), "--models", "10", "--repeats", "1"]
    command += ["--contenders", ",".join(CONTENDERS), "--without-mage"]
    done = subprocess.run(
        [*command, "--json", str(report), "--picture", str(drawn)],
        env=os.environ | {"WORKSPACE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert told["models"] == 10 and set(told["contenders"]) == set(CONTENDERS)
    assert told["left_out"] == {}
    for name, one in told["contenders"].items():
        assert 0 < one["to_sql_s"]["min"] <= one["to_sql_s"]["median"] < one["wall_s"]["min"], name
        assert one["cpu_s"] >= 0 and name in done.stdout
    for name in ("warm", "warm_api", "cold", "cli"):
        one = told["contenders"][name]
        assert one["full_build_s"] > 0 and one["full_build_cpu_s"] > 0
        assert one["full_build_pss_mb"]["all"] > told["idle_pss_mb"]["postgres"] > 0
    commit = told["new_commit"]
    assert commit["ready_s"]["min"] > 0 and commit["dbt_parse_s"]["min"] > 0
    assert commit["to_sql_meanwhile_s"]["requests"] > 0 and "to_sql_meanwhile_s" in done.stdout
    assert drawn.read_text().startswith("<svg")
    assert not (tmp_path / "home" / "bench").exists()
