"""Triggers in a real Mage: which of ours hold still, what one is called that nobody named, and what
a block that refuses leaves for its reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from typing import Any

import httpx
import pytest
import yaml

from mage_dbt.errors import Unavailable
from mage_dbt.mage.project import API_TRIGGER, DAILY_PIPELINE, DAILY_TRIGGER, write_schedule
from mage_dbt.mage.trigger_lock import only_change
from mage_dbt.model.schedule import Schedule
from mage_dbt.settings import CHECKOUT
from tests.harness.mage import Mage
from tests.harness.pipelines import HOLD
from tests.harness.waiting import SECONDS, wait_until

SERVER_PATHS = ("Traceback", "site-packages", ".py", str(CHECKOUT))
"""What nobody who uses Mage can do anything with."""

PASSES = f"""{HOLD}
@custom
def run(*args, **kwargs):
    hold()
    print("asked by " + str(kwargs.get("asked_by")))
    return 1
"""

REFUSES = f"""{HOLD}
from mage_dbt.errors import BadSelection
@custom
def run(*args, **kwargs):
    hold()
    if kwargs.get("accident"):
        raise ValueError("an accident")
    raise BadSelection('No model "fct_order" in dbt-metric.', "Did you mean fct_orders?")
"""

SENTENCE = 'No model "fct_order" in dbt-metric. Did you mean fct_orders?'


@pytest.fixture(scope="module", autouse=True)
def pipelines(mage: Mage) -> None:
    mage.add_pipeline("passes", PASSES)
    mage.add_pipeline("refuses", REFUSES)


@pytest.fixture(scope="module")
def http(mage: Mage) -> httpx.Client:
    return httpx.Client(base_url=mage.mage_url, trust_env=False, timeout=SECONDS)


def triggers(http: httpx.Client, pipeline: str) -> dict[str, dict[str, Any]]:
    """Those that the pipeline's page shows, by name."""

    def answered() -> dict[str, Any] | str:
        answer: dict[str, Any] = http.get(f"/api/pipelines/{pipeline}/pipeline_schedules").json()
        # Just after its start Mage is still making its database.
        return answer if "pipeline_schedules" in answer else str(answer)

    found = wait_until("Mage to list triggers", answered)["pipeline_schedules"]
    for one in found:
        del one["updated_at"]  # Mage may write what is there already
    return {one["name"]: one for one in found}


def ours(http: httpx.Client, name: str) -> dict[str, Any]:
    return wait_until(
        f"Mage to know the trigger {name}",
        lambda: triggers(http, DAILY_PIPELINE).get(name) or "not yet",
    )


def save(http: httpx.Client, trigger: dict[str, Any], **changed: Any) -> str:
    """What the page of a trigger sends; gives the sentence it shows, empty when it is saved."""
    fields = ("name", "description", "schedule_type", "schedule_interval", "settings", "variables")
    sent = {one: trigger[one] for one in fields}
    sent["start_time"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:00+00:00")
    asked = {"pipeline_schedule": sent | {"event_matchers": []} | changed}
    answer = http.put(f"/api/pipeline_schedules/{trigger['id']}", json=asked).json()
    error = answer.get("error")
    if not error:
        return ""
    # The page would offer to unfold anything more.
    assert error["errors"] == [""] and "exception" not in error, error
    return str(error["message"])


def once(http: httpx.Client, pipeline: str, **fields: Any) -> dict[str, Any]:
    """What Run@once sends; gives the trigger."""
    sent = {"schedule_interval": "@once", "schedule_type": "time", "status": "active", **fields}
    made = http.post(
        f"/api/pipelines/{pipeline}/pipeline_schedules", json={"pipeline_schedule": sent}
    )
    found: dict[str, Any] = made.json()["pipeline_schedule"]
    return found


def run_of(http: httpx.Client, trigger: int) -> int:
    def probe() -> int | str:
        found = http.get(f"/api/pipeline_schedules/{trigger}/pipeline_runs").json()
        return int(found["pipeline_runs"][0]["id"]) if found["pipeline_runs"] else "no run yet"

    return wait_until("the trigger's run", probe)


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule_interval": "30 22 * * *"},
        {"schedule_interval": "@daily"},
        {"schedule_interval": "@once"},
        {"schedule_type": "api"},
        {"start_time": "2126-01-01 00:00:00+00:00"},
    ],
    ids=str,
)
def test_another_time_for_the_daily_build_is_refused_at_once_with_who_may_set_it(
    mage: Mage, http: httpx.Client, changed: dict[str, Any]
) -> None:
    before = ours(http, DAILY_TRIGGER)
    refusal = save(http, before, **changed)
    time = "The time of 'Every morning' (every day at 08:00 Asia/Seoul) is not changed in Mage."
    assert refusal.startswith(f"Nothing was saved. {time}")
    assert "operator" in refusal and "schedule --at 07:30" in refusal
    assert ours(http, DAILY_TRIGGER) == before


@pytest.mark.parametrize(
    "changed",
    [{"name": "Mornings"}, {"description": "ours"}, {"variables": {"asked_by": "nobody"}}],
    ids=str,
)
def test_what_else_the_workspace_writes_over_is_refused_by_name(
    http: httpx.Client, changed: dict[str, Any]
) -> None:
    before = ours(http, DAILY_TRIGGER)
    (field,) = changed
    refusal = save(http, before, **changed)
    assert refusal.startswith(
        f"Nothing was saved. The {field} of 'Every morning' is written by the"
    )
    assert ours(http, DAILY_TRIGGER) == before


def test_what_is_saved_of_the_daily_trigger_holds(mage: Mage, http: httpx.Client) -> None:
    trigger = ours(http, DAILY_TRIGGER)
    path = f"/api/pipeline_schedules/{trigger['id']}"
    for status in ("inactive", "active"):
        http.put(path, json={"pipeline_schedule": {"id": trigger["id"], "status": status}})
        file = mage.home.mage_project / "pipelines" / DAILY_PIPELINE / "triggers.yaml"
        written = {one["name"]: one for one in yaml.safe_load(file.read_text())["triggers"]}
        assert written[DAILY_TRIGGER]["status"] == ours(http, DAILY_TRIGGER)["status"] == status
    # The page sends all of it, with a start that nobody chose.
    assert save(http, trigger, settings={"timeout": 3600}) == ""
    saved = ours(http, DAILY_TRIGGER)
    assert saved["settings"]["timeout"] == 3600 and saved["start_time"] is None


def test_nobody_changes_or_copies_a_trigger_while_another_does(
    mage: Mage, http: httpx.Client
) -> None:
    trigger = ours(http, DAILY_TRIGGER)
    begun = len(mage.log("mage"))
    with only_change(mage.home.mage_project):
        refusal = save(http, trigger, settings={"timeout": 60})
        assert refusal.startswith(
            "Another change of triggers goes on for 5 s. Nothing was changed."
        )
        assert ours(http, DAILY_TRIGGER) == trigger

        def not_copied() -> bool | str:
            written = mage.log("mage")[begun:]
            stands = "Failed to sync schedules" in written and "Another change of trig" in written
            return stands or written[-500:]

        wait_until("the scheduler's copy to give way", not_copied)
        with pytest.raises(Unavailable):
            write_schedule(
                Schedule.by_settings(time(7), "Asia/Seoul"), mage.home, datetime.now(UTC)
            )
    assert save(http, trigger, settings={"timeout": 60}) == ""
    assert ours(http, DAILY_TRIGGER)["settings"]["timeout"] == 60


def test_a_trigger_of_the_workspace_is_not_deleted_and_says_what_to_do(http: httpx.Client) -> None:
    for name in (DAILY_TRIGGER, API_TRIGGER):
        trigger = ours(http, name)["id"]
        answer = http.delete(f"/api/pipeline_schedules/{trigger}").json()
        assert "was not deleted. To stop it, switch it off." in answer["error"]["message"]
        assert ours(http, name)["id"] == trigger


def test_a_schedule_of_ones_own_is_saved_and_holds(http: httpx.Client) -> None:
    sent = {"name": "Half past seven", "schedule_type": "time", "schedule_interval": "0 8 * * *"}
    path = f"/api/pipelines/{DAILY_PIPELINE}/pipeline_schedules"
    http.post(path, json={"pipeline_schedule": sent})
    mine = triggers(http, DAILY_PIPELINE)["Half past seven"]
    assert save(http, mine, schedule_interval="30 7 * * *") == ""
    assert triggers(http, DAILY_PIPELINE)["Half past seven"]["schedule_interval"] == "30 7 * * *"
    # Mage takes triggers of one name for one: a second of ours would take its place.
    refused = save(http, mine, name=DAILY_TRIGGER)
    assert "is the name of the workspace's own trigger" in refused
    sent["name"] = DAILY_TRIGGER
    answer = http.post(path, json={"pipeline_schedule": sent}).json()
    assert "Give yours another name." in answer["error"]["message"]
    assert len(http.get(path).json()["pipeline_schedules"]) == len(triggers(http, DAILY_PIPELINE))
    assert "error" not in http.delete(f"/api/pipeline_schedules/{mine['id']}").json()


def test_a_trigger_that_nobody_named_says_what_it_is_and_goes_when_it_is_used_up(
    mage: Mage, http: httpx.Client
) -> None:
    with mage.blocks_held():
        trigger = once(http, "passes")
        assert trigger["name"].startswith("Run once, ") and trigger["name"].endswith(" KST")
        number = run_of(http, trigger["id"])
        mage.begun(number)
        assert trigger["name"] in triggers(http, "passes")
    assert mage.ended(number) == "completed"
    assert [*triggers(http, "passes")] == [API_TRIGGER]
    everywhere = http.get("/api/pipeline_schedules?_limit=1000").json()["pipeline_schedules"]
    assert trigger["id"] not in [one["id"] for one in everywhere]
    listed = http.get("/api/pipelines?include_schedules=1").json()["pipelines"]
    (counted,) = [one["schedules"] for one in listed if one["uuid"] == "passes"]
    assert [one["name"] for one in counted] == [API_TRIGGER]
    # Its run's page needs it still.
    runs = http.get("/api/pipeline_runs?pipeline_uuid=passes").json()["pipeline_runs"]
    assert [one["pipeline_schedule_name"] for one in runs] == [trigger["name"]]


def test_a_trigger_whose_only_run_failed_goes_too_and_can_be_retried(
    mage: Mage, http: httpx.Client
) -> None:
    trigger = once(http, "refuses")
    number = run_of(http, trigger["id"])
    assert mage.ended(number) == "failed"
    assert [*triggers(http, "refuses")] == [API_TRIGGER]
    with mage.blocks_held():
        mage.retry(number)
        mage.begun(number)
    assert mage.ended(number) == "failed"


def test_a_name_that_somebody_gave_stays(http: httpx.Client) -> None:
    trigger = once(http, "passes", name="For the audit", status="inactive")
    assert triggers(http, "passes")["For the audit"]["id"] == trigger["id"]


def test_a_refusal_is_its_sentence_in_the_log_and_the_blocks_output(mage: Mage) -> None:
    number = mage.trigger("refuses")
    assert mage.ended(number) == "failed"
    block = mage.pipeline_run(number)["block_runs"][-1]
    assert block["metrics"]["error"]["message"] == SENTENCE
    log = mage.block_log("refuses", number)
    lines = [json.loads(one[one.index("{") :]) for one in log.splitlines()]
    errors = [one for one in lines if one.get("error")]
    assert errors and all(one["message"] == one["error"] == SENTENCE for one in errors)
    assert {one["level"] for one in errors} == {"ERROR", "WARNING"}
    for text in (log, json.dumps(block["metrics"])):
        assert not [one for one in SERVER_PATHS if one in text], text
    (shown,) = mage.shown(number)
    assert shown["sample_data"] == {"columns": ["nothing was run"], "rows": [[SENTENCE]]}


def test_an_accident_keeps_its_traceback_for_who_repairs_it(mage: Mage) -> None:
    number = mage.trigger("refuses", accident=True)
    assert mage.ended(number) == "failed"
    assert "Traceback" in mage.block_log("refuses", number)


def test_a_refusal_of_mages_api_is_its_sentence(http: httpx.Client) -> None:
    block = {"name": "fct_orders", "type": "dbt", "language": "sql", "content": "select 1"}
    answer = http.post("/api/pipelines/passes/blocks", json={"block": block})
    error = answer.json()["error"]
    assert error["message"].startswith("fct_orders is a dbt model as a file of Mage's")
    assert error["errors"] == [""] and "Traceback" not in answer.text
