"""What the watcher tells of mornings, commits and stories: a real ledger, and a clock of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml

from mage_dbt.alerts.watcher import BROKEN_FOR, SETTLE, Watcher
from mage_dbt.commit import Commit
from mage_dbt.commits import Broken
from mage_dbt.errors import CommitBroken
from mage_dbt.home import Home
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.mage import project as mage_project
from mage_dbt.request import Request
from mage_dbt.run import RUNNER_STOPPED, RunState
from mage_dbt.settings import Settings
from mage_dbt.workspace.postgres import Postgres
from mage_dbt.workspace.secret_files import read_or_make
from tests.harness.ports import free_ports
from tests.harness.services import service
from tests.harness.waiting import wait_until

ZONE = ZoneInfo("Asia/Seoul")
SHA = "3f2c1ab" + "0" * 33


@dataclass
class World:
    """A ledger with nothing in it, a watcher on it, and what that sees of git."""

    settings: Settings
    home: Home
    ledger: Ledger
    live: Commit | None = None
    broken: Broken | None = None
    watcher: Watcher = field(init=False)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another runner begins to watch."""
        self.watcher = Watcher(
            self.settings, self.home, self.ledger, lambda: (self.live, self.broken)
        )

    def clock(self, text: str, day: date | None = None) -> datetime:
        """That local time today, or on another date."""
        today = day or datetime.now(ZONE).date()
        return datetime.combine(today, datetime.strptime(text, "%H:%M").time(), ZONE)

    def run(self, state: RunState, detail: str = "", **request: Any) -> str:
        """A run in that state."""
        self._runs += 1
        asked_at = request.pop("asked_at", None) or datetime.now(UTC)
        morning = request.pop("morning", None)
        asked = Request.parse({"cause": "tool", "caller": "kim", **request})
        run, _ = self.ledger.add_run(
            NewRun(
                id=f"{asked_at:%Y%m%d-%H%M%S}-{self._runs:06x}",
                asked_at=asked_at,
                request=asked,
                key=f"daily:{morning}" if morning else None,
                commit=SHA,
                commit_subject="Add refunds",
                target="prod",
                dbt_version="1.11",
                follows=asked.of,
                morning=morning,
                late_seconds=0,
            )
        )
        if state is not RunState.QUEUED or detail:
            self.ledger.state(run, state, detail)
        return run

    def end(self, state: RunState, nodes: dict[str, str] | None = None, **request: Any) -> str:
        """A run that has ended so, after every run before it, with these nodes' statuses; the
        watcher has looked."""
        run = self.run(RunState.QUEUED, **request)
        for name, status in (nodes or {}).items():
            done = {"node": f"model.m.{name}", "name": name, "type": "model", "status": status}
            self.ledger.event(run, datetime.now(UTC), "node_finished", done)
        self.ledger.state(run, state, "nodes did not pass" if state is RunState.ERROR else "")
        self.watcher.look()
        return run

    def told(self) -> list[tuple[str, str]]:
        """Key and title of everything told so far, oldest first."""
        with self.ledger._connection() as connection:
            rows = connection.execute("select key, title from ledger.alert order by at, key")
            return [(row["key"], row["title"]) for row in rows.fetchall()]

    def outcomes(self, key: str) -> set[tuple[str, str]]:
        """What became of one alert: the channel's label and each outcome."""
        with self.ledger._connection() as connection:
            rows = connection.execute(
                "select label, outcome from ledger.alert_delivery where alert = %s", [key]
            ).fetchall()
        return {(row["label"], row["outcome"]) for row in rows}

    def bodies(self) -> str:
        with self.ledger._connection() as connection:
            rows = connection.execute("select body from ledger.alert").fetchall()
        return "\n".join(row["body"] for row in rows)


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    """A new world in the one database: what an earlier test left is forgotten."""
    with psycopg.connect(postgres.url("ledger")) as owner:
        owner.execute("set local ledger.forgetting = 'yes'")
        owner.execute("truncate ledger.run, ledger.commit_event, ledger.alert cascade")
    ledger = Ledger(postgres.url("runner"))
    ledger.open()
    settings = Settings.load({"WORKSPACE_HOME": str(tmp_path)}, tmp_path / "no.env")
    home = Home(tmp_path)
    read_or_make(home.api_token)
    try:
        yield World(settings, home, ledger)
    finally:
        ledger.close()


def commit(sha: str) -> Commit:
    somewhere = Path("/nonexistent")
    return Commit(
        sha, "Repair", "Lee", "", somewhere, somewhere, "p", "1.11", "postgres", "prod", (), ()
    )


def test_a_morning_that_has_not_begun_is_told_at_the_deadline_and_once(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.watcher.look(world.clock("08:30"))
    world.watcher.look(world.clock("08:59"))
    assert world.told() == []
    world.watcher.look(world.clock("09:00"))
    world.watcher.look(world.clock("09:01"))
    world.restart()
    world.watcher.look(world.clock("10:00"))
    world.watcher.look(world.clock("10:10"))
    title = f"Daily build of {today} has not begun (at 09:00 KST)"
    assert world.told() == [(f"overdue:{today}", title)]
    assert "no commit of dbt-metric is ready" in world.bodies()


def test_a_new_workspace_has_missed_no_morning(world: World) -> None:
    world.watcher.look(world.clock("08:59"))
    world.run(RunState.SUCCESS, asked_at=world.clock("08:30"))
    world.watcher.look(world.clock("09:30"))
    assert world.told() == []


def test_a_workspace_that_comes_up_later_waits_for_the_late_build_and_then_tells(
    world: World,
) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    begun = world.clock("11:00")
    world.watcher.look(begun)
    world.watcher.look(begun + SETTLE - timedelta(seconds=1))
    assert world.told() == []
    world.watcher.look(begun + SETTLE)
    assert [key for key, _ in world.told()] == [f"overdue:{today}"]


def test_one_that_runs_or_waits_says_how_far_and_for_whom_and_its_end_is_told(
    world: World,
) -> None:
    today = datetime.now(ZONE).date()
    waiting = "waiting for fct_orders, being written by run x"
    run = world.run(RunState.QUEUED, waiting, cause="schedule", morning=today)
    world.watcher.look(world.clock("09:00"))
    assert world.told() == [(f"overdue:{today}", f"Daily build of {today} waits (at 09:00 KST)")]
    assert waiting in world.bodies() and f"show {run}" in world.bodies()
    world.ledger.state(run, RunState.SUCCESS)
    world.watcher.look()
    done = (f"recovery:overdue:{today}", f"Done after all: daily build of {today}")
    assert done in world.told() and len(world.told()) == 2


def test_a_running_one_says_how_many_nodes_are_done(world: World) -> None:
    today = datetime.now(ZONE).date()
    run = world.run(RunState.RUNNING, cause="schedule", morning=today)
    now = datetime.now(UTC)
    world.ledger.event(run, now, "plan", {"names": ["a", "b", "c"], "nodes": [], "warnings": []})
    done = {"node": "model.a", "name": "a", "type": "model", "status": "success"}
    world.ledger.event(run, now, "node_finished", done)
    world.watcher.look(world.clock("09:00"))
    assert world.told()[0][1] == f"Daily build of {today} is running: 1 of 3 nodes (at 09:00 KST)"


def test_one_that_is_over_in_time_is_no_news(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, cause="schedule", morning=today)
    world.watcher.look(world.clock("09:00"))
    assert world.told() == []


def test_a_pause_is_told_on_its_first_day_and_not_again(world: World) -> None:
    today = datetime.now(ZONE).date()
    folder = world.home.mage_project / "pipelines" / mage_project.DAILY_PIPELINE
    folder.mkdir(parents=True)
    trigger = {"name": mage_project.DAILY_TRIGGER, "status": "inactive"}
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))
    yesterday = today - timedelta(days=1)
    asked_at = world.clock("08:00", yesterday)
    world.run(RunState.SUCCESS, cause="schedule", morning=yesterday, asked_at=asked_at)
    world.watcher.look(world.clock("08:00"))
    world.watcher.look(world.clock("09:00"))
    tomorrow = today + timedelta(days=1)
    world.watcher.look(world.clock("09:00", tomorrow))
    assert [key for key, _ in world.told()] == [f"overdue:{today}"]
    assert "switched off in Mage" in world.bodies()


def test_mage_that_is_down_is_named_as_the_reason(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.live = commit("b" * 40)
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.home.processes.write_text(json.dumps([{"name": "mage", "state": "restarting"}]))
    world.watcher.look(world.clock("08:00"))
    world.watcher.look(world.clock("09:00"))
    assert "Why: Mage is restarting" in world.bodies()


def test_a_story_is_told_as_failed_failed_otherwise_and_fixed_once(world: World) -> None:
    today = datetime.now(ZONE).date()
    first = world.end(RunState.ERROR, {"a": "error"}, cause="schedule", morning=today)
    rerun = {"operation": "rerun_failed", "of": first}
    world.end(RunState.ERROR, {"a": "error"}, **rerun)
    other = world.end(RunState.ERROR, {"a": "success", "b": "error"}, **rerun)
    fixed = world.end(RunState.SUCCESS, {"b": "success"}, **rerun, caller="lee")
    again = world.end(RunState.SUCCESS, {"b": "success"}, **rerun)
    world.restart()
    world.watcher.look()
    told = dict(world.told())
    assert set(told) == {
        f"failure:{first}",
        f"failure:{other}",
        f"recovery:failure:{other}",
    }
    assert told[f"failure:{other}"] == f"Rerun of daily build of {today} failed: b"
    assert told[f"recovery:failure:{other}"] == f"Fixed: daily build of {today}"
    assert f"show {fixed}" in world.bodies() and f"show {again}" not in world.bodies()


def test_the_next_green_morning_is_the_recovery_of_a_failed_one(world: World) -> None:
    """Each date's build is told, for silence would say that it is green; it is over once."""
    today = datetime.now(ZONE).date()
    failed = [
        world.end(
            RunState.ERROR,
            {"a": "error"},
            cause="schedule",
            morning=today - timedelta(days=ahead),
        )
        for ahead in (2, 1)
    ]
    green = world.end(RunState.SUCCESS, {"a": "success"}, cause="schedule", morning=today)
    world.watcher.look()
    assert [key for key, _ in world.told()] == [
        *(f"failure:{one}" for one in failed),
        f"recovery:failure:{failed[-1]}",
    ]
    assert "How: the next daily build" in world.bodies() and f"show {green}" in world.bodies()
    (again,) = [line for line in world.bodies().split("\n") if "KST, as " in line]
    assert again.startswith("Failed: a (1 of 1 nodes), ")


def test_the_same_failure_of_the_same_request_is_told_once_and_once_that_it_is_over(
    world: World,
) -> None:
    by_bot = {"cause": "api", "caller": "API: bot", "select": "hourly"}
    bad, good = {"hourly": "error", "after": "skipped"}, {"hourly": "success", "after": "success"}
    first = world.end(RunState.ERROR, bad, **by_bot)
    for caller in ("API: bot", "API: another", "API: bot"):
        world.end(RunState.ERROR, bad, **(by_bot | {"caller": caller, "why": "again"}))
    world.restart()
    world.watcher.look()
    assert [key for key, _ in world.told()] == [f"failure:{first}"]
    fixed = world.end(RunState.SUCCESS, good, cause="tool", caller="kim", select="hourly")
    world.end(RunState.SUCCESS, good, **by_bot)
    assert [key for key, _ in world.told()] == [f"failure:{first}", f"recovery:failure:{first}"]
    assert "Fixed: run by API: bot" in dict(world.told())[f"recovery:failure:{first}"]
    assert "How: the same was asked for again" in world.bodies()
    assert "By: kim (tool)" in world.bodies() and f"show {fixed}" in world.bodies()
    later = world.end(RunState.ERROR, bad, **by_bot)  # a new trouble
    world.restart()  # and one that looks back at all of this finds nothing more
    world.watcher.look()
    assert [key for key, _ in world.told()][2:] == [f"failure:{later}"]


def test_other_requests_and_other_nodes_are_other_troubles(world: World) -> None:
    api = {"cause": "api", "select": "hourly"}
    told = [
        world.end(RunState.ERROR, {"a": "error"}, **api),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, **api),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, **api, variables={"size": 4}),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, cause="api", select="hourly+"),
    ]
    assert [key for key, _ in world.told()] == [f"failure:{one}" for one in told]


def test_it_is_over_when_all_that_did_not_pass_has_passed_in_whatever_runs(world: World) -> None:
    bad = {"a": "error", "b": "skipped", "c": "success"}
    failed = world.end(RunState.ERROR, bad, cause="api", select="a+")
    world.end(RunState.SUCCESS, {"a": "success"}, cause="form", select="a", variables={"n": 1})
    world.end(RunState.SUCCESS, {"a": "success"}, cause="form", select="a")
    assert len(world.told()) == 1  # with other variables it is another table; and b is left
    other = {"b": "success", "d": "error"}
    world.end(RunState.ERROR, other, cause="tool", select="b d", caller="lee")
    assert [key for key, _ in world.told()] == [f"failure:{failed}", f"recovery:failure:{failed}"]
    assert "How: all of it has passed in other runs, 1 nodes passed" in world.bodies()


def test_a_rerun_of_an_older_failure_is_not_the_end_of_a_newer_one(world: World) -> None:
    today = datetime.now(ZONE).date()
    mornings = [
        world.end(
            RunState.ERROR,
            {"a": "error", name: "error"},
            cause="schedule",
            morning=today - timedelta(days=ahead),
            asked_at=world.clock("08:00", today - timedelta(days=ahead)),
        )
        for ahead, name in ((2, "b"), (1, "c"))
    ]
    good = {"a": "success", "b": "success"}
    world.end(RunState.SUCCESS, good, operation="rerun_failed", of=mornings[0])
    assert len(world.told()) == 2
    good = {"a": "success", "c": "success"}
    world.end(RunState.SUCCESS, good, operation="rerun_failed", of=mornings[1])
    assert [key for key, _ in world.told()][2:] == [f"recovery:failure:{mornings[1]}"]


def test_an_overdue_build_that_somebody_begins_by_hand_is_done_after_all(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.watcher.look(world.clock("08:59"))
    world.watcher.look(world.clock("09:00"))
    world.end(RunState.SUCCESS, {"a": "success"}, select="a", asked_at=world.clock("09:10"))
    world.end(RunState.SUCCESS, {"a": "success"}, asked_at=world.clock("09:20"), caller="lee")
    world.end(RunState.SUCCESS, {"a": "success"}, asked_at=world.clock("09:30"))
    assert [key for key, _ in world.told()] == [f"overdue:{today}", f"recovery:overdue:{today}"]
    assert " by lee: 1 nodes passed" in world.bodies()


def test_a_daily_build_that_somebody_cancelled_is_missing_at_the_deadline(world: World) -> None:
    today = datetime.now(ZONE).date()
    detail = "Cancelled by kim with mage-dbt."
    run = world.run(RunState.CANCELLED, detail, cause="schedule", morning=today)
    world.watcher.look(world.clock("08:59"))
    assert world.told() == []
    world.watcher.look(world.clock("09:00"))
    ((key, title),) = world.told()
    assert key == f"overdue:{today}" and "was cancelled" in title
    assert f"Why: {detail}" in world.bodies() and f"show {run}" in world.bodies()
    world.end(RunState.SUCCESS, {"a": "success"}, operation="rerun_failed", of=run)
    assert [key for key, _ in world.told()][1:] == [f"recovery:overdue:{today}"]


def test_a_cancelled_daily_build_that_was_done_again_is_no_news(world: World) -> None:
    today = datetime.now(ZONE).date()
    detail = "Cancelled by kim with mage-dbt."
    world.run(RunState.CANCELLED, detail, cause="schedule", morning=today)
    world.end(RunState.SUCCESS, {"a": "success"}, caller="kim")
    world.watcher.look(world.clock("09:00"))
    assert world.told() == []


def test_only_what_nobody_watches_is_told(world: World) -> None:
    cut_off = f"Cancelled: {RUNNER_STOPPED}."
    today = datetime.now(ZONE).date()
    world.run(RunState.ERROR, "x", cause="form")
    world.run(RunState.ERROR, "x", cause="tool")
    world.run(RunState.ERROR, "x", cause="start")
    world.run(RunState.CANCELLED, "Cancelled by kim.", cause="api")
    world.run(RunState.SUCCESS, cause="api")
    by_bot = world.run(RunState.ERROR, "x", cause="api")
    cut = world.run(RunState.CANCELLED, cut_off, cause="schedule", morning=today)
    world.watcher.look()
    assert {key for key, _ in world.told()} == {f"failure:{by_bot}", f"failure:{cut}"}


def test_the_message_links_to_the_runs_page_in_mage_when_it_has_one(
    world: World, postgres: Postgres
) -> None:
    world.run(RunState.ERROR, "x", cause="api", mage_run=11)
    world.watcher.look()
    assert len(world.told()) == 1 and "http" not in world.bodies()
    with psycopg.connect(postgres.url("mage")) as connection:
        connection.execute("create table mage.pipeline_run (id bigint, pipeline_uuid text)")
        connection.execute("insert into mage.pipeline_run values (12, 'daily_full_build')")
    world.run(RunState.ERROR, "x", cause="api", select="b", mage_run=12)
    world.watcher.look()
    address = f"http://127.0.0.1:{world.settings.mage_port}"
    assert f"{address}/pipelines/daily_full_build/runs/12" in world.bodies()


def test_a_broken_commit_is_told_when_it_stays_so_and_when_main_is_whole_again(
    world: World,
) -> None:
    now = datetime.now(UTC)
    error = CommitBroken("dbt cannot parse aaaaaaa: no such macro", "Push a repair.")
    world.broken = Broken("a" * 40, "Use a macro", "Kim", error, now.timestamp())
    world.watcher.look(now)
    world.watcher.look(now + BROKEN_FOR - timedelta(seconds=1))
    assert world.told() == []
    world.watcher.look(now + BROKEN_FOR)
    world.restart()
    world.watcher.look(now + 2 * BROKEN_FOR)
    world.watcher.look(now + 4 * BROKEN_FOR)
    assert world.told() == [(f"broken:{'a' * 40}", "main is broken at aaaaaaa by Kim")]
    assert "no such macro" in world.bodies()
    world.broken, world.live = None, commit("b" * 40)
    world.watcher.look(now + 5 * BROKEN_FOR)
    world.restart()
    world.watcher.look(now + 6 * BROKEN_FOR)
    assert [key for key, _ in world.told()][1:] == [f"recovery:broken:{'a' * 40}"]


def test_main_that_stays_broken_for_one_reason_is_told_once_and_once_that_it_is_whole(
    world: World,
) -> None:
    now = datetime.now(UTC)

    def push(sha: str, author: str, reason: str) -> None:
        nonlocal now
        error = CommitBroken(
            f"dbt cannot parse {sha[:7]}: Compilation Error\n  {reason}", "Repair."
        )
        world.broken = Broken(sha, "Change", author, error, now.timestamp())
        world.ledger.commit(sha, "Change", author, "broken", str(error), "1.11")
        world.watcher.look(now)
        now += BROKEN_FOR
        world.watcher.look(now)

    push("a" * 40, "Kim", "no such macro")
    push("b" * 40, "Lee", "no such macro")  # an innocent push on a main that is broken
    assert world.told() == [(f"broken:{'a' * 40}", "main is broken at aaaaaaa by Kim")]
    push("c" * 40, "Lee", "no such model")
    assert [key for key, _ in world.told()][1:] == [f"broken:{'c' * 40}"]
    world.broken, world.live = None, commit("d" * 40)
    world.watcher.look(now + BROKEN_FOR)
    world.restart()
    world.watcher.look(now + 2 * BROKEN_FOR)
    assert [key for key, _ in world.told()][2:] == [f"recovery:broken:{'c' * 40}"]
    assert "aaaaaaa and ccccccc were broken" in world.bodies()


def test_each_channel_that_was_not_reached_is_taken_up_by_the_next_runner(world: World) -> None:
    (port,) = free_ports(1)
    with service() as good:
        world.home.alert_urls.write_text(f"{good.address()}\njson://127.0.0.1:{port}\n")
        run = world.run(RunState.ERROR, "x", cause="api")
        key = f"failure:{run}"

        def tried(outcomes: set[tuple[str, str]]) -> None:
            def probe() -> bool | str:
                world.watcher.look()
                return outcomes <= world.outcomes(key) or str(world.outcomes(key))

            wait_until(f"{outcomes}", probe, 30)

        tried({("line 1, JSON", "delivered"), ("line 2, JSON", "failed")})
        world.restart()
        with service(port=port) as back:
            tried({("line 2, JSON", "delivered")})
            assert len(back.received) == len(good.received) == 1


def test_a_file_that_cannot_be_read_leaves_everything_for_later(world: World) -> None:
    world.home.alert_urls.write_bytes(b"\xff\xfe\x00")
    world.run(RunState.ERROR, "x", cause="api")
    world.watcher.look()
    assert world.told() == []
    with service() as good:
        world.home.alert_urls.write_text(good.address())

        def probe() -> bool | str:
            world.watcher.look()
            return bool(good.received) or "nothing received"

        wait_until("the message", probe, 30)
    assert len(world.told()) == 1


def test_what_ended_long_ago_is_history(world: World) -> None:
    world.run(RunState.ERROR, "x", cause="api")
    world.watcher.look(datetime.now(UTC) + timedelta(hours=13))
    assert world.told() == []
