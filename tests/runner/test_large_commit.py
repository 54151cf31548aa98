"""A commit of many nodes: runs go on while it is made ready, and then it is as warm as a small one.

./scripts/test tests/runner/test_large_commit.py --random-size 3340 -s   # 10,020 nodes more
"""

from __future__ import annotations

import time

import pytest

from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness.repository import git_commit
from tests.harness.runner import Runner
from tests.harness.waiting import progress

PROJECT = "steps"

MODELS = 100
"""Without --random-size. Each has two tests, so it is three nodes."""

PARSE_SECONDS = 1800.0


def properties(name: str) -> str:
    columns = "[{name: id, data_tests: [not_null, unique]}]"
    return f"  - {{name: {name}, columns: {columns}}}\n"


@pytest.mark.timeout(3600)
def test_runs_go_on_while_a_large_commit_is_made_ready_and_are_forked_from_it_then(
    runner: Runner, request: pytest.FixtureRequest
) -> None:
    size = request.config.getoption("--random-size") or MODELS
    names = [f"many_{number:05}" for number in range(size)]
    before = runner.run()
    assert before.state is RunState.SUCCESS, before.detail
    folder = runner.repository / "models" / "many"
    folder.mkdir()
    for number, name in enumerate(names):
        reads = f" from {{{{ ref('{names[number // 2]}') }}}}" if number > 1 else ""
        (folder / f"{name}.sql").write_text(f"select {'id' if reads else '1 as id'}{reads}\n")
    (folder / "_models.yml").write_text(f"models:\n{''.join(map(properties, names))}")
    sha, began = git_commit(runner.repository, "Many"), time.monotonic()
    meanwhile: list[float] = []

    while not meanwhile or runner.client.status().to_json()["live"]["sha"] != sha:
        assert time.monotonic() < began + PARSE_SECONDS, runner.client.status().to_json()
        asked = time.monotonic()
        run = runner.run(select="apart", key=f"meanwhile {len(meanwhile)}")
        assert run.state is RunState.SUCCESS, run.detail
        assert runner.how(run) == "warm" and run.commit in (before.commit, sha)
        meanwhile.append(time.monotonic() - asked)
    ready, asked = time.monotonic() - began, time.monotonic()

    chosen = " ".join(names[:2])
    run = runner.run(select=chosen)
    assert run.state is RunState.SUCCESS, run.detail
    assert runner.how(run) == "warm" and run.commit == sha
    assert runner.query("select count(*) from analytics.many_00000") == [(1,)]
    took = time.monotonic() - asked

    asked = time.monotonic()
    plan = runner.client.plan(Request.parse({"cause": "tool", "caller": "test"})).to_json()
    planned = {one["name"] for one in plan["nodes"]}
    assert set(names) <= planned and len(plan["nodes"]) >= 3 * size
    progress().say(
        f"{len(plan['nodes'])} nodes: ready after {ready:.1f} s, {len(meanwhile)} runs meanwhile of"
        f" {min(meanwhile):.2f} to {max(meanwhile):.2f} s; a run of 6 nodes then {took:.2f} s, the"
        f" plan of everything {time.monotonic() - asked:.2f} s"
    )
