"""Both images are built and Compose's stack does its work, in a real container engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mage_dbt.launcher.identity_provider import BOT
from tests.engine.conftest import BUILD_SECONDS, Stack
from tests.harness.login import try_to_sign_in
from tests.harness.waiting import SECONDS, wait_until
from tests.security_page import keep_table

PEOPLE, MACHINES, PROVIDER = (f"http://127.0.0.1:{port}" for port in (4180, 4181, 4183))

USERS = {
    "front": 10002,
    "git-sync": 65533,
    "identity-provider": 1000,
    "machines": 65532,
    "mage": 10001,
    "people": 65532,
    "pod": 10002,
    "postgres": 999,
    "runner": 10002,
}

DAILY_BUILD = """
from mage_dbt.home import Home
from mage_dbt.mage.api import MageApi
from mage_dbt.settings import Settings
settings = Settings.load()
with MageApi(settings, Home(settings.workspace_home)) as mage:
    print(mage.fire(mage.api_trigger("daily_full_build"), {"cause": "start"}))
"""

BEGIN, END = "<!-- notebook: written by the tests -->\n", "<!-- end of notebook -->"

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 1800)


@pytest.fixture
def ana(stack: Stack) -> Iterator[httpx.Client]:
    """Her browser, signed in."""
    with httpx.Client(base_url=PEOPLE, trust_env=False, timeout=SECONDS) as client:
        try_to_sign_in(client, "ana@example.com", "/")
        yield client


@pytest.fixture
def bot(stack: Stack) -> Iterator[httpx.Client]:
    """A program of the group operators, with its JWT."""
    secret = (stack.folder / "secrets" / "development-bot").read_text()
    answer = httpx.post(
        f"{PROVIDER}/token",
        data={"grant_type": "client_credentials"},
        auth=(BOT, secret),
        trust_env=False,
        timeout=SECONDS,
    )
    token = answer.raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(
        base_url=MACHINES, headers=headers, trust_env=False, timeout=SECONDS
    ) as client:
        yield client


def asked(bot: httpx.Client, **body: Any) -> str:
    answer = bot.post("/v1/runs", json={"why": "the test asks", **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def over(bot: httpx.Client, run: str) -> dict[str, Any]:
    def probe() -> dict[str, Any] | str:
        answer = bot.get(f"/v1/runs/{run}")
        if answer.status_code != 200:  # the runner is away for a moment
            return answer.text[:300]
        now = dict(answer.json())
        final = now["state"] in ("Success", "Error", "Cancelled")
        return now if final else f"it is {now['state']}"

    return wait_until(f"run {run} to be over", probe, 300)


@pytest.mark.parametrize("service", USERS)
def test_a_container_has_its_user_and_no_right_more(stack: Stack, service: str) -> None:
    # A shell without arguments that Compose would interpolate; every image has one.
    script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; echo > /written || :"
    done = stack.compose("exec", "--no-TTY", service, "sh", "-c", script)
    said = done.stdout.split()
    assert said[0] == str(USERS[service])
    assert said[1:] == ["NoNewPrivs:", "1"] or dict(zip(said[1::2], said[2::2], strict=True)) == {
        "CapEff:": "0" * 16,
        "CapBnd:": "0" * 16,
        "NoNewPrivs:": "1",
    }
    assert "Read-only file system" in done.stderr


def test_a_daily_build_through_mage(stack: Stack, bot: httpx.Client) -> None:
    number = stack.inside("runner", "python", "-P", "-", given=DAILY_BUILD).strip()

    def probe() -> list[dict[str, Any]] | str:
        found = bot.get("/v1/runs", params={"mage_run": number}).json()["runs"]
        return found or f"Mage's run {number} has begun none"

    run = over(bot, wait_until("the daily build to begin", probe, 300)[0]["id"])
    assert run["state"] == "Success", run


def test_a_person_signs_in_and_sees_it(ana: httpx.Client) -> None:
    with httpx.Client(base_url=PEOPLE, trust_env=False, timeout=SECONDS) as nobody:
        assert nobody.get("/api/statuses").status_code == 401
    assert ana.get("/runner/v1/status").json()["live"]["sha"]
    assert ana.get("/api/pipelines").status_code == 200
    command = {"operation": "command", "command": "run --full-refresh", "why": "ana tries"}
    answer = ana.post("/runner/v1/runs", json=command, headers={"Origin": PEOPLE})
    assert answer.status_code == 403, answer.text


def test_a_run_by_jwt_and_a_full_refresh(bot: httpx.Client) -> None:
    for operation, model in (("build", "dim_customers"), ("full_refresh", "fct_orders")):
        run = over(bot, asked(bot, operation=operation, select=[model]))
        assert run["state"] == "Success" and BOT in run["caller"], run


def test_a_runner_that_is_restarted_ends_its_run_and_goes_on(
    stack: Stack, bot: httpx.Client
) -> None:
    run = asked(bot, operation="build")

    def begun() -> bool | str:
        state = bot.get(f"/v1/runs/{run}").json()["state"]
        return state not in ("Queued", "Starting") or f"it is {state}"

    wait_until(f"run {run} to run", begun)
    stack.done("restart", "--timeout", "0", "runner")
    stack.up()
    assert over(bot, run)["state"] in ("Error", "Success")
    again = over(bot, asked(bot, operation="build", select=["dim_customers"]))
    assert again["state"] == "Success", again


def test_mage_restarted_answers_again(stack: Stack, ana: httpx.Client) -> None:
    stack.done("restart", "mage")
    stack.up()
    assert ana.get("/api/pipelines").status_code == 200


def test_the_backup_and_the_way_back_of_a_migration(stack: Stack, bot: httpx.Client) -> None:
    stack.done("run", "--rm", "--no-TTY", "backup")
    kept = stack.done(
        "run", "--rm", "--no-TTY", "backup", "sh", "-c", "ls /workspace/backups"
    ).split()
    assert [name for name in kept if name.endswith(".dump")], kept
    stack.done("stop", "mage", "runner")
    command = ("python", "-P", "-m", "mage_dbt.launcher.migrations", "--to", "0005")
    said = stack.done("run", "--rm", "--no-TTY", "prepare", *command)
    assert re.search(r"taken back +0006", said), said
    stack.up()
    status = wait_until("the runner", lambda: bot.get("/v1/status").status_code == 200)
    assert status


VIEW_BY_HAND = (
    "export PGPASSWORD=$(cat /run/secrets/postgres-superuser); psql -h 127.0.0.1 -U postgres "
    "-d warehouse -c 'create or replace view public.by_hand as select * from analytics.fct_orders'"
)


def test_what_a_notebook_reaches_is_in_the_page_of_security(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    stack.inside("postgres", "sh", "-c", VIEW_BY_HAND)
    script = (Path(__file__).parent / "notebook.py").read_text()
    tried = json.loads(stack.inside("mage", "python", "-P", "-", given=script).splitlines()[-1])
    lines = [f"| {what} | {'; '.join(answers)} |" for what, answers in tried]
    rows = "\n".join(["| Tried | Answered |", "|---|---|", *lines, ""])
    keep_table(BEGIN, END, rows, request, "./scripts/test tests/engine --engine")
