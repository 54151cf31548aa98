"""Without a Mage, runs asked for by the tool or the API are run, told of once, and given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.model.request import Request
from mage_dbt.model.run import Event, RunState, new_run_id
from mage_dbt.runner.mage_watch import START_SECONDS
from tests.harness.forms import Visitor
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

PROJECT = "steps"

TOLD = "runs go on, and are not seen in Mage for now: Mage does not answer"


def test_the_page_says_that_mage_is_down_and_begins_runs_all_the_same(runner: Runner) -> None:
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as http:
        form = Visitor(http).see("/ask/run", model="apart").form("Run")
        run = Visitor(http).begun(form, why="Mage is down")
        ended = runner.over(runner.client.run(run))
        assert (ended.state, ended.why) == (RunState.SUCCESS, "Mage is down")
        assert "Mage is down" in Visitor(http).see(f"/runs/{run}").text

        def probe() -> bool | str:
            text = Visitor(http).see("/").text
            down = "Mage does not answer. This page, runs and the API work without it" in text
            return down or ("Mage is starting" in text and "Mage is starting") or text

        wait_until("the page to say that Mage is down", probe, START_SECONDS + SECONDS)


def mage_events(ledger: Ledger, run: str) -> list[Event]:
    return [one for one in ledger.events(run) if one.kind == "mage"]


def test_a_run_without_a_mage_is_told_of_once_and_after_a_day_the_ledger_says_so(
    runner: Runner,
) -> None:
    ledger = Ledger(runner.postgres.url("runner"))
    ledger.open()
    try:
        now = runner.client.submit(Request.parse({"select": "apart", "caller": "a bot"}))
        log = runner.home.logs / "runner.log"
        wait_until("the warning", lambda: TOLD in log.read_text() or "not yet")

        asked = datetime.now(UTC) - timedelta(hours=25)
        old = NewRun(
            id=new_run_id(asked),
            asked_at=asked,
            request=Request.parse({"caller": "a bot"}),
            key=None,
            commit="0" * 40,
            commit_subject="Gone",
            target="dev",
            dbt_version="1",
            follows=None,
            morning=None,
            late_seconds=0,
        )
        ledger.add_run(old)
        (event,) = wait_until(
            "the ledger to say that it was given up",
            lambda: mage_events(ledger, old.id) or "no event",
        )
        assert event.data["mage_run"] is None
        assert "for 24 h" in event.data["message"]
        assert "Mage does not answer" in event.data["message"]
        # What is known stays: a record that comes too late changes nothing.
        ledger.has_mage_run(old.id, 7)
        assert mage_events(ledger, old.id) == [event]
        assert ledger.run(old.id).mage_run is None

        ended = wait_until(
            "the run to be over",
            lambda: run if (run := ledger.run(now.id)).state.final else f"{run.state}",
        )
        assert ended.state is RunState.SUCCESS and mage_events(ledger, now.id) == []
        assert log.read_text().count("not seen in Mage") == 1
        ledger.state(old.id, RunState.ERROR, "Only a row of this test's.")
    finally:
        ledger.close()
