"""A commit is ready when every run of it can begin; and what the project's own selectors choose."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from mage_dbt.base.yaml_file import REPAIR
from mage_dbt.commits.broken import AGAIN
from mage_dbt.errors import BadSelection, Unavailable
from mage_dbt.model.request import Request
from mage_dbt.model.run import RunState
from tests.harness.base import command_line
from tests.harness.repository import git, git_commit, make_repository
from tests.harness.runner import Runner
from tests.harness.waiting import wait_until

PROJECT = "nightly"

LAYERS = 20
"""Of views, each of 4 that all read the 4 of the layer before: 4 ** 20 ways through them, which
nobody would go in the time that the client waits."""

EPHEMERALS = 60


def until_nothing_parses(folder: Path) -> None:
    """Waits until no process parses, or keeps, the commit in a folder that begins like this."""

    def probe() -> bool | str:
        lines = map(command_line, psutil.process_iter())
        left = [one for one in lines if f"mage_dbt.dbt.process fork-server {folder}" in one]
        return not left or ", ".join(left)

    wait_until(f"nothing to parse {folder.name}", probe)


def test_models_in_a_circle_break_the_commit(runner: Runner) -> None:
    good = git(runner.repository, "rev-parse", "HEAD")
    circle = runner.commit(
        "Read each other",
        one="select * from {{ ref('two') }}",
        two="select * from {{ ref('one') }}",
    )
    assert "Found a cycle: model.nightly." in runner.broken(circle)["message"]
    assert runner.client.status().to_json()["live"]["sha"] == good
    run = runner.run(select="nightly")
    assert run.state is RunState.SUCCESS and run.commit == good
    until_nothing_parses(runner.home.commits / circle[:12])
    runner.publish("Do not", one=None, two=None)


def test_a_commit_whose_packages_cannot_be_had_leaves_no_process_and_no_download(
    runner: Runner,
) -> None:
    packages = runner.repository / "packages.yml"
    packages.write_text("packages:\n  - local: nowhere\n")
    sha = git_commit(runner.repository, "Ask for a package that is not there")
    told = runner.broken(sha)
    assert "cannot be had: nowhere" in told["message"] and told["hint"] == REPAIR
    folder = next(runner.home.commits.glob(f"{sha[:12]}-*"))
    until_nothing_parses(folder)
    assert not list(folder.glob(".dbt-downloads*"))
    packages.unlink()
    runner.live(git_commit(runner.repository, "Without it"))


def test_only_a_source_that_is_away_is_asked_for_again(runner: Runner, tmp_path: Path) -> None:
    lib = make_repository(tmp_path / "lib", PROJECT)
    packages = runner.repository / "packages.yml"
    here = f"git: '{lib.as_uri()}'"
    for text, says in (
        (f"- {here}\n    revision: v9.9.9", "v9.9.9"),
        (f"- {here}\n    revision: main\n  - {here}\n    revision: HEAD", "main"),
        ("- pakage: dbt-labs/dbt_utils\n    version: 1.0.0", "pakage"),
    ):
        packages.write_text(f"packages:\n  {text}\n")
        told = runner.broken(git_commit(runner.repository, f"Ask for {says}"))
        assert says in told["message"] and told["hint"] == REPAIR, told
        assert not told["by_machine"]
        assert "network" not in f"{told}"
    packages.write_text("packages:\n  - git: http://127.0.0.1:9/lib.git\n    revision: main\n")
    sha = git_commit(runner.repository, "Ask for a source that is away")
    told = runner.broken(sha)
    assert "127.0.0.1" in told["message"] and told["by_machine"]
    assert told["hint"] == f"Is the network there? {AGAIN}"
    with pytest.raises(Unavailable, match="cannot be had"):
        runner.ask(select="nightly", commit=sha)
    packages.unlink()
    runner.live(git_commit(runner.repository, "Without it"))


def test_a_plan_through_many_layers_takes_no_longer_than_its_edges(runner: Runner) -> None:
    models = {
        f"l{layer}_{number}": f"{{{{ config(materialized='view', tags='l{layer}') }}}}select 1 as x"
        + "".join(f"\n-- {{{{ ref('l{layer - 1}_{up}') }}}}" for up in range(4) if layer)
        for layer in range(LAYERS)
        for number in range(4)
    }
    models |= {
        f"e{number}": "{{ config(materialized='ephemeral') }}\nselect * from "
        + (f"{{{{ ref('e{number - 1}') }}}}" if number else "{{ ref('l0_0') }}")
        for number in range(EPHEMERALS)
    }
    models["bottom"] = f"select * from {{{{ ref('e{EPHEMERALS - 1}') }}}}"
    runner.publish("Many layers", **models)
    everything = 1 + 4 * (LAYERS - 1) + EPHEMERALS + 1
    for select, count in ((f"tag:l{LAYERS - 1}", 4), ("l0_0+", everything)):
        plan = runner.client.plan(Request.parse({"select": select})).to_json()
        assert len(plan["nodes"]) == count
    # All that is behind a view which this plan does not build; of one that it does, that view.
    last = runner.client.plan(Request.parse({"select": f"l{LAYERS - 1}_0"})).to_json()["nodes"][0]
    assert len(last["reads"]) == 4 * (LAYERS - 1)
    whole = {one["name"]: one for one in plan["nodes"]}
    assert len(whole[f"l{LAYERS - 1}_0"]["reads"]) == 4
    assert whole["bottom"]["reads"] == ['"warehouse"."analytics"."l0_0"']


def test_the_projects_default_selector_is_named_where_it_chooses(runner: Runner) -> None:
    plan = runner.client.plan(Request.parse({})).to_json()
    chosen = "chosen by the selector nightly (selectors.yml)"
    assert [(one["name"], one["why"]) for one in plan["nodes"]] == [("nightly", chosen)]
    with pytest.raises(BadSelection, match=r"nothing to test: the selector nightly \(selectors"):
        runner.client.plan(Request.parse({"operation": "command", "command": "test"})).to_json()
    plan = runner.client.plan(Request.parse({"select": "other"})).to_json()
    assert {one["name"] for one in plan["nodes"]} == {"other", "not_null_other_id"}


def test_another_selector_of_the_project_can_be_named(runner: Runner) -> None:
    asked = {"operation": "command", "command": "build --selector rest"}
    plan = runner.client.plan(Request.parse(asked)).to_json()
    assert {one["name"] for one in plan["nodes"]} == {"other", "not_null_other_id"}
    assert {one["why"] for one in plan["nodes"]} == {"chosen by the selector rest (selectors.yml)"}
    with pytest.raises(BadSelection, match="Could not find selector named reest"):
        runner.client.plan(Request.parse(asked | {"command": "build --selector reest"})).to_json()


def test_configuration_that_reads_the_clock_is_parsed_for_each_run(runner: Runner) -> None:
    alias = "{{ config(alias='at_' ~ run_started_at.strftime('%H%M%S')) }}"
    runner.publish("Stamp a model", stamped=f"{alias}\nselect 1 as id")
    assert any("reads the clock (stamped)" in note for note in notes(runner))
    written = []
    for _ in range(2):
        run = runner.run(select="stamped")
        assert run.state is RunState.SUCCESS, run.detail
        assert any("reads the clock" in text for text in run.warnings)
        written.append(run.nodes[0].relation)
    assert written[0] != written[1]
    runner.publish("No longer", stamped=None)
    assert not notes(runner)


def notes(runner: Runner) -> list[str]:
    return list(runner.client.status().to_json()["live"]["notes"])
