"""Alerts: real runs that fail, real services that listen, hang, refuse and answer 500."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import pytest

from mage_dbt.model.run import Run, RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.ports import free_ports
from tests.harness.repository import git
from tests.harness.runner import Runner
from tests.harness.services import Service, hanging_service, service
from tests.harness.waiting import SECONDS, wait_until

T = TypeVar("T")

CANARY = "canary0c4f1e"
"""Stands in every address as token, user and password; it must be nowhere else."""

TELL_SECONDS = 300.0

BROKEN = "select id / 0 as id from {{ ref('numbers') }}"


class Alerting:
    """A runner, the services its alerts go to, and what its ledger says of them."""

    def __init__(self, runner: Runner, services: dict[str, Service], hanging: str) -> None:
        self.runner = runner
        self.services = services
        refusing = f"json://{CANARY}:{CANARY}@127.0.0.1:{free_ports(1)[0]}/{CANARY}"
        self.lines = [
            "# where alerts of this test go",
            services["good"].address(CANARY),
            services["failing"].address(CANARY),
            f"{hanging}/{CANARY}",
            refusing,
            f"nonsense://{CANARY}",
        ]

    @property
    def good(self) -> Service:
        return self.services["good"]

    def write(self, *lines: str) -> None:
        """Writes the secret file, as a person would."""
        file = self.runner.home.alert_urls
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name("aside")
        aside.touch(mode=0o600)
        aside.write_text("\n".join(lines) + "\n")
        aside.rename(file)

    def ledger(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.runner.postgres.url("runner")) as connection:
            return connection.execute(query, values).fetchall()

    def outcomes(self, key: str) -> dict[str, set[str]]:
        """What became of one alert, by the channel's label."""
        found: dict[str, set[str]] = {}
        for label, outcome, detail in self.ledger(
            "select label, outcome, detail from ledger.alert_delivery where alert = %s", key
        ):
            found.setdefault(label, set()).add(f"{outcome} {detail}".strip())
        return found

    def until(self, what: str, probe: Callable[[], T | str]) -> T:
        return wait_until(what, probe, TELL_SECONDS)

    def received(self, words: str) -> dict[str, Any]:
        """Waits until the good service has exactly one message with these words."""

        def probe() -> dict[str, Any] | str:
            found = self.good.about(words)
            assert len(found) < 2, found
            return found[0] if found else f"received: {self.good.titles()}"

        return self.until(f"a message about {words}", probe)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.runner.client.status().to_json()["alerts"]
        return found


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Alerting]:
    """A runner whose daily build has a minute, and is due in hours."""
    folder = tmp_path_factory.mktemp("alerts")
    # A zone in which it is not almost midnight.
    zone = "Etc/GMT+9" if datetime.now(UTC).hour >= 16 else "UTC"
    with ExitStack() as all_services:
        services = {
            "good": all_services.enter_context(service()),
            "failing": all_services.enter_context(service(500)),
        }
        hanging = all_services.enter_context(hanging_service())
        begun = runners.on_project(
            folder,
            server,
            "steps",
            DAILY_BUILD_TIMEZONE=zone,
            DAILY_BUILD_AT="23:00",
            DAILY_BUILD_OVER_BY="23:01",
        )
        yield Alerting(all_services.enter_context(begun), services, hanging)


def test_without_a_file_alerts_go_nowhere_and_status_says_so(alerting: Alerting) -> None:
    lines = alerting.until(
        "the watcher's first look", lambda: alerting.status()["told"] or "nothing yet"
    )
    assert "nobody is told" in lines[0] and str(alerting.runner.home.alert_urls) in lines[0]
    runner = alerting.runner
    run = runner.run(cause="api", caller="bot", select="no_such_model")
    assert run.state is RunState.ERROR
    key = f"failure:{run.id}"
    alerting.until(
        "the failure to be in the ledger",
        lambda: (
            alerting.ledger("select channels from ledger.alert where key = %s", key) or "it is not"
        ),
    )
    assert alerting.outcomes(key) == {}


def test_the_file_is_read_when_it_comes_and_a_wrong_line_is_known_by_its_number(
    alerting: Alerting,
) -> None:
    alerting.write(*alerting.lines)

    def probe() -> list[str] | str:
        lines: list[str] = alerting.status()["told"]
        return lines if "line 2" in lines[0] else str(lines)

    lines = alerting.until("the file to be read", probe)
    assert lines[0] == "line 2, JSON; line 3, JSON; line 4, JSON; line 5, JSON"
    assert lines[1].startswith("line 6 of ") and lines[1].endswith("no address that apprise knows")


def test_what_somebody_watches_has_no_alert(alerting: Alerting) -> None:
    run = alerting.runner.run(cause="tool", caller="kim", select="no_such_model")
    assert run.state is RunState.ERROR
    bot = alerting.runner.run(cause="api", caller="release bot", select="no_such_model")
    assert "No model" in alerting.received("Build of no_such_model by release bot")["message"]
    keys = alerting.ledger("select key from ledger.alert where run in (%s, %s)", run.id, bot.id)
    assert keys == [(f"failure:{bot.id}",)]


def test_a_daily_build_that_does_not_begin_has_one_alert(alerting: Alerting) -> None:
    runner = alerting.runner
    # Only now, when somebody is told, and not when the runner was started.
    now = datetime.now(ZoneInfo(runner.settings.daily_build_timezone))
    due, over_by = (f"{now + timedelta(minutes=ahead):%H:%M}" for ahead in (2, 3))
    runner.restart_runner(DAILY_BUILD_AT=due, DAILY_BUILD_OVER_BY=over_by)
    runner.answering()
    text = alerting.received("has not begun")
    assert "Mage has not asked for it" in text["message"]
    assert text["type"] == "warning"


def test_a_failed_daily_build_has_an_alert_of_five_lines_that_say_what_and_who(
    alerting: Alerting,
) -> None:
    runner = alerting.runner
    runner.live(runner.commit("Divide <script> @channel by zero", facts=BROKEN))
    begun = time.monotonic()
    run = runner.run(cause="schedule", caller="Mage, trigger Every morning")
    seconds = time.monotonic() - begun
    assert run.state is RunState.ERROR and run.morning
    text = alerting.received(f"--of {run.id}")
    assert text["title"] == f"Daily build of {run.morning} failed: facts"
    lines = text["message"].split("\n")
    assert len(lines) == 5
    assert lines[0].startswith(f"Failed: facts (1 of {len(run.nodes)} nodes), ")
    assert lines[1] == "Why: data: facts divides by zero: division by zero"
    assert "facts_view" in lines[2] and "totals" in lines[2]
    assert lines[3].startswith("Last changed: facts by Kim, ")
    assert "Divide <\u200bscript> @\u200bchannel by zero" in lines[3]
    page = f"http://127.0.0.1:{alerting.runner.settings.runner_port}/runs/{run.id}"
    assert lines[4] == f"Rerun: ./scripts/mage-dbt run rerun_failed --of {run.id}  {page}"
    assert text["type"] == "failure"
    assert seconds < 120  # a service hangs, and no run has waited for it


def test_a_dead_a_failing_and_a_hanging_service_are_known_and_disturb_nobody(
    alerting: Alerting,
) -> None:
    key = alerting.ledger(
        "select key from ledger.alert join ledger.run on run.id = alert.run"
        " where caller = 'release bot'"
    )[0][0]
    wanted = {
        "line 2, JSON": {"delivered"},
        "line 3, JSON": {"failed it answered 500"},
        "line 4, JSON": {"failed no answer within 30 s"},
        "line 5, JSON": {"failed it could not be reached, or refused"},
    }
    alerting.until(
        "each channel's outcome",
        lambda: alerting.outcomes(key) == wanted or str(alerting.outcomes(key)),
    )
    problems = " ".join(alerting.status()["problems"])
    assert "line 3, JSON: it answered 500" in problems
    run = alerting.runner.run(select="apart")
    assert run.state is RunState.SUCCESS
    alerting.services["failing"].status = 200
    failure = f"failure:{failed_build(alerting).id}"
    alerting.until(
        "the service that is back to get the alert",
        lambda: (
            "delivered" in alerting.outcomes(failure).get("line 3, JSON", ())
            or str(alerting.outcomes(failure))
        ),
    )


def failed_build(alerting: Alerting) -> Run:
    found = alerting.ledger("select id from ledger.run where morning is not null")
    return alerting.runner.client.run(found[0][0])


def test_a_rerun_that_fails_alike_has_no_alert_and_the_repair_says_when_and_by_whom(
    alerting: Alerting,
) -> None:
    runner = alerting.runner
    failed = failed_build(alerting)
    again = runner.run(operation="rerun_failed", of=failed.id, caller="kim", why="once more")
    assert again.state is RunState.ERROR  # the same failure: no other alert
    runner.live(runner.commit("Divide by one", facts="select id, amount from {{ ref('numbers') }}"))
    fixed = runner.run(operation="rerun_failed", of=again.id, caller="lee", why="repaired")
    assert fixed.state is RunState.SUCCESS, fixed.detail
    text = alerting.received(f"show {fixed.id}")
    assert text["title"] == f"Fixed: daily build of {failed.morning}"
    assert text["type"] == "success"
    assert 'By: lee (tool): "repaired"' in text["message"]
    assert f'With: {fixed.commit[:7]} "Divide by one" by Kim' in text["message"]
    alerting.until(
        "the recovery in the ledger",
        lambda: alerting.ledger("select key from ledger.alert where kind = 'recovery'") or "none",
    )
    assert alerting.ledger("select key from ledger.alert where run = %s", again.id) == []


def test_the_same_failure_requested_again_has_one_alert_and_one_when_it_recovers(
    alerting: Alerting,
) -> None:
    runner = alerting.runner
    runner.live(runner.commit("Break apart", apart="select 1 / 0 as id"))
    asked = {"cause": "api", "caller": "hourly bot", "select": "apart"}
    runs = [runner.run(**asked) for _ in range(4)]
    text = alerting.received("Build of apart by hourly bot failed: apart")
    assert f"--of {runs[0].id} " in text["message"]
    runner.live(runner.commit("Repair apart", apart="select 1 as id"))
    fixed = runner.run(cause="tool", caller="kim", select="apart")
    runner.run(**asked)
    over = alerting.received("Fixed: build of apart by hourly bot")
    assert "By: kim (tool)" in over["message"] and f"show {fixed.id}" in over["message"]
    last = runner.run(cause="api", caller="hourly bot", select="no_such_model_either")
    alerting.received(f"--of {last.id}")  # so all before it has been looked at
    assert len(alerting.good.about("hourly bot")) == 3


def test_what_dbt_warned_of_while_parsing_is_in_the_message(alerting: Alerting) -> None:
    runner = alerting.runner
    before = git(runner.repository, "rev-parse", "HEAD")
    file = runner.repository / "models" / "misspelt.yml"
    file.write_text("models:\n  - {name: nmubers, columns: [{name: id, data_tests: [unique]}]}\n")
    runner.live(runner.commit("Break it, and misspell", apart="select 1 / 0 as id"))
    run = runner.run(cause="api", caller="spelling bot", select="apart")
    lines = alerting.received("Build of apart by spelling bot failed")["message"].split("\n")
    assert lines[-2].startswith(f"dbt: 2 warnings while parsing, 2 new since {before[:7]}: New: ")
    assert "on a node named 'nmubers' in package '' which was not found" in lines[-2]
    assert f"--of {run.id} " in lines[-1]
    file.unlink()
    runner.live(runner.commit("Repair both", apart="select 1 as id"))


def test_a_failure_before_a_kill_has_one_alert_after_the_restart(alerting: Alerting) -> None:
    runner = alerting.runner
    alerting.good.status = 503
    run = runner.run(cause="api", caller="night bot", select="another_model")
    key = f"failure:{run.id}"
    alerting.until(
        "a try that failed",
        lambda: (
            "failed it answered 503" in alerting.outcomes(key).get("line 2, JSON", ()) or "none"
        ),
    )
    runner.kill("mage_dbt.server")
    alerting.good.received.clear()
    alerting.good.status = 200
    runner.answering()
    alerting.received("Build of another_model by night bot")
    alerting.until(
        "the delivery in the ledger",
        lambda: (
            "delivered" in alerting.outcomes(key)["line 2, JSON"] or str(alerting.outcomes(key))
        ),
    )
    runner.kill("mage_dbt.server")
    runner.answering()
    alerting.until(
        "the watcher to look", lambda: "line 2" in str(alerting.status()) or str(alerting.status())
    )
    assert len(alerting.good.about("Build of another_model by night bot")) == 1
    assert len(alerting.good.about("has not begun")) == 0


def test_the_tool_sends_a_test_message_and_shows_where_it_went(alerting: Alerting) -> None:
    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mage_dbt.tool", *arguments],
            env={"PATH": os.environ["PATH"], **alerting.runner.settings.as_environment()},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    done = tool("alert-test")
    assert done.returncode == 1
    assert "line 2, JSON: delivered" in done.stdout
    assert "line 4, JSON: no answer within 30 s" in done.stdout
    assert "line 6: no address that apprise knows" in done.stdout
    assert alerting.good.about("this channel works")
    assert CANARY not in done.stdout + done.stderr
    assert "alerts    line 2, JSON" in tool("status").stdout


def test_history_of_alerts_cannot_be_changed(alerting: Alerting) -> None:
    for change in (
        "update ledger.alert set title = ''",
        "delete from ledger.alert",
        "delete from ledger.alert_delivery",
        "truncate ledger.alert_delivery",
    ):
        with (
            psycopg.connect(alerting.runner.postgres.url("ledger")) as owner,
            pytest.raises(psycopg.Error, match="append-only"),
        ):
            owner.execute(change.encode())


def test_the_addresses_are_nowhere_but_in_their_file(alerting: Alerting) -> None:
    home = alerting.runner.home
    for file, content in alerting.runner.files():
        assert file == home.alert_urls or CANARY.encode() not in content, file
    rows = alerting.ledger("select to_jsonb(a)::text from ledger.alert a")
    rows += alerting.ledger("select to_jsonb(d)::text from ledger.alert_delivery d")
    rows += alerting.ledger("select to_jsonb(e)::text from ledger.event e")
    assert len(rows) > 10 and CANARY not in json.dumps(rows)
    assert CANARY not in json.dumps(alerting.runner.client.status().to_json())
    assert (home.logs / "runner.log").read_text().count("delivered") > 2
    assert Path(home.alert_urls).read_text().count(CANARY) > 5
