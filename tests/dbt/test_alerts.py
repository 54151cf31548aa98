"""Being told: real runs that fail, real services that listen, hang, refuse and answer 500."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import pytest

from mage_dbt.run import Run, RunState
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.ports import free_ports
from tests.harness.repository import git
from tests.harness.runner import Runner
from tests.harness.services import Service, hanging_service, service
from tests.harness.waiting import wait_until

T = TypeVar("T")

CANARY = "canary0c4f1e"
"""Stands in every address as token, user and password; it must be nowhere else."""

TELL_SECONDS = 240.0

BROKEN = "select id / 0 as id from {{ ref('numbers') }}"


class Told:
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
        found: dict[str, Any] = self.runner.client.status()["alerts"]
        return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Told]:
    """A runner whose deadline is near: the morning was due a minute ago."""
    folder = tmp_path_factory.mktemp("told")
    # A zone in which it is not almost midnight, and a morning that is due when the runner is up.
    zone = "Etc/GMT+9" if datetime.now(UTC).hour >= 16 else "UTC"
    now = datetime.now(ZoneInfo(zone))
    due, over_by = now + timedelta(minutes=2), now + timedelta(minutes=3)
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
            DAILY_BUILD_AT=f"{due:%H:%M}",
            MORNING_BUILD_OVER_BY=f"{over_by:%H:%M}",
        )
        yield Told(all_services.enter_context(begun), services, hanging)


def test_without_a_file_nobody_is_told_and_status_says_so(told: Told) -> None:
    lines = told.until("the watcher's first look", lambda: told.status()["told"] or "nothing yet")
    assert "nobody is told" in lines[0] and str(told.runner.home.alert_urls) in lines[0]
    runner = told.runner
    run = runner.run(cause="api", caller="bot", select="no_such_model")
    assert run.state is RunState.ERROR
    key = f"failure:{run.id}"
    told.until(
        "the failure to be in the ledger",
        lambda: told.ledger("select channels from ledger.alert where key = %s", key) or "it is not",
    )
    assert told.outcomes(key) == {}


def test_the_file_is_read_when_it_comes_and_a_wrong_line_is_known_by_its_number(
    told: Told,
) -> None:
    told.write(*told.lines)

    def probe() -> list[str] | str:
        lines: list[str] = told.status()["told"]
        return lines if "line 2" in lines[0] else str(lines)

    lines = told.until("the file to be read", probe)
    assert lines[0] == "line 2, JSON; line 3, JSON; line 4, JSON; line 5, JSON"
    assert lines[1].startswith("line 6 of ") and lines[1].endswith("no address that apprise knows")


def test_what_is_watched_by_the_one_who_asked_is_not_told(told: Told) -> None:
    run = told.runner.run(cause="tool", caller="kim", select="no_such_model")
    assert run.state is RunState.ERROR
    bot = told.runner.run(cause="api", caller="release bot", select="no_such_model")
    assert "No model" in told.received("Run by release bot")["message"]
    keys = told.ledger("select key from ledger.alert where run in (%s, %s)", run.id, bot.id)
    assert keys == [(f"failure:{bot.id}",)]


def test_a_morning_that_does_not_begin_is_told_once(told: Told) -> None:
    text = told.received("has not begun")
    assert "Mage has not asked for it" in text["message"]
    assert text["type"] == "warning"


def test_a_failed_morning_is_told_in_five_lines_that_say_what_and_who(told: Told) -> None:
    runner = told.runner
    runner.live(runner.commit("Divide <script> @channel by zero", facts=BROKEN))
    begun = time.monotonic()
    run = runner.run(cause="schedule", caller="Mage, trigger Every morning")
    seconds = time.monotonic() - begun
    assert run.state is RunState.ERROR and run.morning
    text = told.received(f"--of {run.id}")
    assert text["title"] == f"Daily build of {run.morning} failed: facts"
    lines = text["message"].split("\n")
    assert len(lines) == 5
    assert lines[0].startswith(f"Failed: facts (1 of {len(run.nodes)} nodes), ")
    assert lines[1] == "Why: division by zero"
    assert "facts_view" in lines[2] and "totals" in lines[2]
    assert lines[3].startswith("Last changed: facts by Kim, ")
    assert "Divide <\u200bscript> @\u200bchannel by zero" in lines[3]
    assert lines[4] == f"Rerun: ./scripts/mage-dbt run rerun_failed --of {run.id}"
    assert text["type"] == "failure"
    assert seconds < 120  # a service hangs, and no run has waited for it


def test_a_dead_a_failing_and_a_hanging_service_are_known_and_disturb_nobody(told: Told) -> None:
    key = told.ledger(
        "select key from ledger.alert join ledger.run on run.id = alert.run"
        " where caller = 'release bot'"
    )[0][0]
    wanted = {
        "line 2, JSON": {"delivered"},
        "line 3, JSON": {"failed it answered 500"},
        "line 4, JSON": {"failed no answer within 30 s"},
        "line 5, JSON": {"failed it could not be reached, or refused"},
    }
    told.until(
        "each channel's outcome", lambda: told.outcomes(key) == wanted or str(told.outcomes(key))
    )
    problems = " ".join(told.status()["problems"])
    assert "line 3, JSON: it answered 500" in problems
    run = told.runner.run(select="apart")
    assert run.state is RunState.SUCCESS
    told.services["failing"].status = 200
    morning = f"failure:{failed_morning(told).id}"
    told.until(
        "the service that is back to be told",
        lambda: (
            "delivered" in told.outcomes(morning).get("line 3, JSON", ())
            or str(told.outcomes(morning))
        ),
    )


def failed_morning(told: Told) -> Run:
    found = told.ledger("select id from ledger.run where morning is not null")
    return told.runner.client.run(found[0][0])


def test_a_rerun_that_fails_alike_is_not_told_and_the_one_that_repairs_says_when_and_by_whom(
    told: Told,
) -> None:
    runner = told.runner
    failed = failed_morning(told)
    again = runner.run(operation="rerun_failed", of=failed.id, caller="kim", why="once more")
    assert again.state is RunState.ERROR  # the same trouble: it is not told again
    runner.live(runner.commit("Divide by one", facts="select id, amount from {{ ref('numbers') }}"))
    fixed = runner.run(operation="rerun_failed", of=again.id, caller="lee", why="repaired")
    assert fixed.state is RunState.SUCCESS, fixed.detail
    text = told.received(f"show {fixed.id}")
    assert text["title"] == f"Fixed: daily build of {failed.morning}"
    assert text["type"] == "success"
    assert 'By: lee (tool): "repaired"' in text["message"]
    assert f'With: {fixed.commit[:7]} "Divide by one" by Kim' in text["message"]
    told.until(
        "the recovery in the ledger",
        lambda: told.ledger("select key from ledger.alert where kind = 'recovery'") or "none",
    )
    assert told.ledger("select key from ledger.alert where run = %s", again.id) == []


def test_the_same_failure_asked_for_again_and_again_is_told_once_and_once_that_it_is_over(
    told: Told,
) -> None:
    runner = told.runner
    runner.live(runner.commit("Break apart", apart="select 1 / 0 as id"))
    asked = {"cause": "api", "caller": "hourly bot", "select": "apart"}
    runs = [runner.run(**asked) for _ in range(4)]
    text = told.received("Run by hourly bot failed: apart")
    assert text["message"].endswith(f"--of {runs[0].id}")
    runner.live(runner.commit("Repair apart", apart="select 1 as id"))
    fixed = runner.run(cause="tool", caller="kim", select="apart")
    runner.run(**asked)
    over = told.received("Fixed: run by hourly bot")
    assert "By: kim (tool)" in over["message"] and f"show {fixed.id}" in over["message"]
    last = runner.run(cause="api", caller="hourly bot", select="no_such_model_either")
    told.received(f"--of {last.id}")  # so all before it has been looked at
    assert len(told.good.about("hourly bot")) == 3


def test_what_dbt_warned_of_while_parsing_is_in_the_message(told: Told) -> None:
    runner = told.runner
    before = git(runner.repository, "rev-parse", "HEAD")
    file = runner.repository / "models" / "misspelt.yml"
    file.write_text("models:\n  - {name: nmubers, columns: [{name: id, data_tests: [unique]}]}\n")
    runner.live(runner.commit("Break it, and misspell", apart="select 1 / 0 as id"))
    run = runner.run(cause="api", caller="spelling bot", select="apart")
    lines = told.received("Run by spelling bot failed")["message"].split("\n")
    assert lines[-2].startswith(f"dbt: 2 warnings while parsing, 2 new since {before[:7]}: New: ")
    assert "on a node named 'nmubers' in package '' which was not found" in lines[-2]
    assert lines[-1].endswith(f"--of {run.id}")
    file.unlink()
    runner.live(runner.commit("Repair both", apart="select 1 as id"))


def test_a_failure_before_a_kill_is_told_once_after_the_restart(told: Told) -> None:
    runner = told.runner
    told.good.status = 503
    run = runner.run(cause="api", caller="night bot", select="another_model")
    key = f"failure:{run.id}"
    told.until(
        "a try that failed",
        lambda: "failed it answered 503" in told.outcomes(key).get("line 2, JSON", ()) or "none",
    )
    runner.kill("mage_dbt.runner")
    told.good.received.clear()
    told.good.status = 200
    runner.answering()
    told.received("Run by night bot")
    told.until(
        "the delivery in the ledger",
        lambda: "delivered" in told.outcomes(key)["line 2, JSON"] or str(told.outcomes(key)),
    )
    runner.kill("mage_dbt.runner")
    runner.answering()
    told.until("the watcher to look", lambda: "line 2" in str(told.status()) or str(told.status()))
    assert len(told.good.about("Run by night bot")) == 1
    assert len(told.good.about("has not begun")) == 0


def test_the_tool_sends_a_test_message_and_shows_who_is_told(told: Told) -> None:
    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mage_dbt.cli", *arguments],
            env={"PATH": os.environ["PATH"], **told.runner.settings.as_environment()},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = tool("alert-test")
    assert done.returncode == 1
    assert "line 2, JSON: delivered" in done.stdout
    assert "line 4, JSON: no answer within 30 s" in done.stdout
    assert "line 6: no address that apprise knows" in done.stdout
    assert told.good.about("this channel works")
    assert CANARY not in done.stdout + done.stderr
    assert "alerts    line 2, JSON" in tool("status").stdout


def test_history_of_alerts_cannot_be_changed(told: Told) -> None:
    for change in (
        "update ledger.alert set title = ''",
        "delete from ledger.alert",
        "delete from ledger.alert_delivery",
        "truncate ledger.alert_delivery",
    ):
        with (
            psycopg.connect(told.runner.postgres.url("ledger")) as owner,
            pytest.raises(psycopg.Error, match="append-only"),
        ):
            owner.execute(change.encode())


def test_the_addresses_are_nowhere_but_in_their_file(told: Told) -> None:
    home = told.runner.home
    for file in home.root.rglob("*"):
        if file == home.alert_urls or not file.is_file() or file.is_symlink():
            continue
        with suppress(FileNotFoundError):  # PostgreSQL removes files of its own at any time
            assert CANARY.encode() not in file.read_bytes(), file
    rows = told.ledger("select to_jsonb(a)::text from ledger.alert a")
    rows += told.ledger("select to_jsonb(d)::text from ledger.alert_delivery d")
    rows += told.ledger("select to_jsonb(e)::text from ledger.event e")
    assert len(rows) > 10 and CANARY not in json.dumps(rows)
    assert CANARY not in json.dumps(told.runner.client.status())
    assert (home.logs / "runner.log").read_text().count("delivered") > 2
    assert Path(home.alert_urls).read_text().count(CANARY) > 5
