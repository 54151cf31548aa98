"""Two daily builds that failed, from the daily build to the repair, each shown as one story.

The days are two time zones: with the daily build at 00:00 it is always due, Kiritimati is always at
least a date ahead of Pago Pago, and a restarted runner takes up its new zone.
"""

from __future__ import annotations

import pytest

from mage_dbt.errors import Conflict, NothingLeft
from mage_dbt.model.request import Request
from mage_dbt.model.run import Run, RunState
from tests.harness.models import BROKEN, FACTS
from tests.harness.repository import git
from tests.harness.runner import Runner

PROJECT = "steps"

FIRST, SECOND = "Pacific/Pago_Pago", "Pacific/Kiritimati"

MANY_LINES = FACTS + "".join(f"-- What a reader of line {line} should know.\n" for line in range(9))

BROKEN_AGAIN = MANY_LINES.replace("    amount\n", "    amount / 0 as amount\n")


def daily_build(runner: Runner) -> Run:
    """What Mage's schedule asks the runner for."""
    run = runner.run(cause="schedule", caller="Mage, trigger daily")
    assert run.morning and run.state is RunState.ERROR and "facts" in run.detail, run.detail
    return run


def story_of(runner: Runner, run: Run) -> list[str]:
    return [chapter.text for chapter in runner.client.story(run.id)]


def test_a_red_first_build_of_a_workspace_is_run_again_like_a_daily_one(runner: Runner) -> None:
    with pytest.raises(Conflict, match="Nothing has built everything yet"):
        runner.ask(operation="rerun_failed")
    runner.live(runner.commit("Break facts at first", facts=BROKEN))
    first = runner.run(cause="start", caller="Mage, trigger API")
    assert first.state is RunState.ERROR and first.morning is None
    assert first.title == "build of everything"
    runner.live(runner.commit("Repair facts at first", facts=FACTS))
    assert runner.run(select="apart").state is RunState.SUCCESS  # builds not everything
    asked = Request.parse({"operation": "rerun_failed", "cause": "form", "caller": "alice"})
    assert "numbers" not in {one["name"] for one in runner.client.plan(asked).to_json()["nodes"]}
    fixed = runner.run(operation="rerun_failed", cause="form", caller="alice")
    assert fixed.state is RunState.SUCCESS and fixed.follows == first.id, fixed.detail

    everything = runner.run(caller="kim")
    assert everything.state is RunState.SUCCESS, everything.detail
    refusal = f"last build of everything, by kim, run {everything.id}, succeeded"
    with pytest.raises(NothingLeft, match=refusal):
        runner.ask(operation="rerun_failed")


def test_two_daily_builds_fail_and_are_repaired_and_each_reads_as_one_story(runner: Runner) -> None:
    runner.restart_runner(DAILY_BUILD_AT="00:00", DAILY_BUILD_TIMEZONE=FIRST)
    runner.live(runner.commit("Break facts", facts=BROKEN))
    first = daily_build(runner)
    repaired = runner.commit("Repair facts", facts=MANY_LINES)
    runner.live(repaired)
    alice = runner.run(operation="rerun_failed", caller="alice", why="facts is repaired")
    assert alice.state is RunState.SUCCESS, alice.detail
    assert alice.follows == first.id and alice.commit == repaired
    with pytest.raises(NothingLeft, match=f"succeeded since.*{alice.id} .alice."):
        runner.ask(operation="rerun_failed")

    runner.restart_runner(DAILY_BUILD_TIMEZONE=SECOND)
    runner.live(runner.commit("Break facts again", facts=BROKEN_AGAIN))
    second = daily_build(runner)
    assert second.morning and first.morning and second.morning > first.morning
    git(runner.repository, "mv", "models/facts.sql", "models/fact_rows.sql")
    models = runner.repository / "models"
    texts = {name: (models / f"{name}.sql").read_text() for name in ("facts_view", "totals")}
    properties = models / "steps.yml"
    properties.write_text(properties.read_text().replace("name: facts\n", "name: fact_rows\n"))
    renamed = runner.commit(
        "Rename and repair",
        fact_rows=MANY_LINES,
        **{name: text.replace("'facts'", "'fact_rows'") for name, text in texts.items()},
    )
    runner.live(renamed)
    bob = runner.run(operation="rerun_failed", caller="bob")
    assert bob.state is RunState.SUCCESS, bob.detail
    assert bob.follows == second.id
    assert bob.notes == ("facts was renamed to fact_rows.",)
    assert {"fact_rows", "facts_view", "totals"} <= {one.name for one in bob.nodes}
    assert "numbers" not in {one.name for one in bob.nodes}

    for failed, fixed, by in ((first, alice, "alice"), (second, bob, "bob")):
        story = story_of(runner, failed)
        assert len(story) == 2, story
        assert f"daily build of {failed.morning} on {failed.commit[:7]} failed at " in story[0]
        assert story[0].endswith("(facts)")
        assert story[1].endswith(f"fixed by {by} with {fixed.commit[:7]} (run {fixed.id})")
        assert story_of(runner, fixed) == story
