"""The alerts about daily builds, commits and runs: a real ledger, and a clock of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml

from mage_dbt.alerts.commit_alerts import BROKEN_FOR
from mage_dbt.alerts.overdue_alerts import SETTLE
from mage_dbt.alerts.watcher import Watcher
from mage_dbt.base.secret_files import read_or_make
from mage_dbt.commits.broken import Broken
from mage_dbt.errors import CommitBroken
from mage_dbt.home import Home
from mage_dbt.launcher.postgres import Postgres
from mage_dbt.ledger import Ledger
from mage_dbt.ledger.ledger import NewRun
from mage_dbt.ledger.schedule import ScheduleLedger
from mage_dbt.mage import project as mage_project
from mage_dbt.model.commit import Commit
from mage_dbt.model.explanation import Explanation
from mage_dbt.model.refresh import ColumnChange
from mage_dbt.model.request import Request
from mage_dbt.model.run import RUNNER_STOPPED, EventKind, RunState
from mage_dbt.model.schedule import Schedule
from mage_dbt.model.schedule_change import ScheduleUpdate
from mage_dbt.model.survey import ColumnsChanged, Survey
from mage_dbt.settings import Settings
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
    survey: Survey | None = None
    watcher: Watcher = field(init=False)
    explain: Callable[[str], Explanation] = lambda run: Explanation(run, (), 0)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another runner begins to watch."""
        self.watcher = Watcher(
            self.settings,
            self.home,
            self.ledger,
            lambda: (self.live, self.broken),
            lambda: self.survey,
            self.explain,
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
            self.ledger.event(run, datetime.now(UTC), EventKind.NODE_FINISHED, done)
        self.ledger.state(run, state, "nodes did not pass" if state is RunState.ERROR else "")
        self.watcher.poll()
        return run

    def alerts(self) -> list[tuple[str, str]]:
        """Key and title of every alert so far, as written: rows are never changed."""
        with self.ledger.connection() as connection:
            rows = connection.execute("select key, title from ledger.alert order by ctid")
            return [(row["key"], row["title"]) for row in rows.fetchall()]

    def outcomes(self, key: str) -> set[tuple[str, str]]:
        """What became of one alert: the channel's label and each outcome."""
        with self.ledger.connection() as connection:
            rows = connection.execute(
                "select label, outcome from ledger.alert_delivery where alert = %s", [key]
            ).fetchall()
        return {(row["label"], row["outcome"]) for row in rows}

    def bodies(self) -> str:
        with self.ledger.connection() as connection:
            rows = connection.execute("select body from ledger.alert").fetchall()
        return "\n".join(row["body"] for row in rows)


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    """A new world in the one database: what an earlier test left is forgotten."""
    with psycopg.connect(postgres.url("ledger")) as owner:
        owner.execute("set local ledger.forgetting = 'yes'")
        owner.execute(
            "truncate ledger.run, ledger.commit_event, ledger.alert, ledger.schedule cascade"
        )
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


def test_a_daily_build_that_has_not_begun_has_one_alert_at_the_deadline(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.watcher.poll(world.clock("08:30"))
    world.watcher.poll(world.clock("08:59"))
    assert world.alerts() == []
    world.watcher.poll(world.clock("09:00"))
    world.watcher.poll(world.clock("09:01"))
    world.restart()
    world.watcher.poll(world.clock("10:00"))
    world.watcher.poll(world.clock("10:10"))
    title = f"Daily build of {today} has not begun (at 09:00 KST)"
    assert world.alerts() == [(f"overdue:{today}", title)]
    assert "no commit of dbt-metric is ready" in world.bodies()


def test_a_new_workspace_has_missed_no_daily_build(world: World) -> None:
    world.watcher.poll(world.clock("08:59"))
    world.run(RunState.SUCCESS, asked_at=world.clock("08:30"))
    world.watcher.poll(world.clock("09:30"))
    assert world.alerts() == []


def test_a_workspace_that_comes_up_later_waits_for_the_late_build_and_then_tells(
    world: World,
) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    begun = world.clock("11:00")
    world.watcher.poll(begun)
    world.watcher.poll(begun + SETTLE - timedelta(seconds=1))
    assert world.alerts() == []
    world.watcher.poll(begun + SETTLE)
    assert [key for key, _ in world.alerts()] == [f"overdue:{today}"]


def test_one_that_runs_or_waits_says_how_far_and_for_whom_and_its_end_is_told(
    world: World,
) -> None:
    today = datetime.now(ZONE).date()
    waiting = "waiting for fct_orders, being written by run x"
    run = world.run(RunState.QUEUED, waiting, cause="schedule", morning=today)
    world.watcher.poll(world.clock("09:00"))
    assert world.alerts() == [(f"overdue:{today}", f"Daily build of {today} waits (at 09:00 KST)")]
    assert waiting in world.bodies() and f"show {run}" in world.bodies()
    world.ledger.state(run, RunState.SUCCESS)
    world.watcher.poll()
    done = (f"recovery:overdue:{today}", f"Done after all: daily build of {today}")
    assert done in world.alerts() and len(world.alerts()) == 2


def test_a_running_one_says_how_many_nodes_are_done(world: World) -> None:
    today = datetime.now(ZONE).date()
    run = world.run(RunState.RUNNING, cause="schedule", morning=today)
    now = datetime.now(UTC)
    world.ledger.event(
        run, now, EventKind.PLAN, {"names": ["a", "b", "c"], "nodes": [], "warnings": []}
    )
    done = {"node": "model.a", "name": "a", "type": "model", "status": "success"}
    world.ledger.event(run, now, EventKind.NODE_FINISHED, done)
    world.watcher.poll(world.clock("09:00"))
    assert world.alerts()[0][1] == f"Daily build of {today} is running: 1 of 3 nodes (at 09:00 KST)"


def test_one_that_is_over_in_time_is_no_news(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, cause="schedule", morning=today)
    world.watcher.poll(world.clock("09:00"))
    assert world.alerts() == []


def test_a_pause_has_an_alert_on_its_first_date_only(world: World) -> None:
    today = datetime.now(ZONE).date()
    folder = world.home.mage_project / "pipelines" / mage_project.DAILY_PIPELINE
    folder.mkdir(parents=True)
    trigger = {"name": mage_project.DAILY_TRIGGER, "status": "inactive"}
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))
    yesterday = today - timedelta(days=1)
    asked_at = world.clock("08:00", yesterday)
    world.run(RunState.SUCCESS, cause="schedule", morning=yesterday, asked_at=asked_at)
    world.watcher.poll(world.clock("08:00"))
    world.watcher.poll(world.clock("09:00"))
    tomorrow = today + timedelta(days=1)
    world.watcher.poll(world.clock("09:00", tomorrow))
    assert [key for key, _ in world.alerts()] == [f"overdue:{today}"]
    assert "switched off in Mage" in world.bodies()


def schedules(world: World) -> ScheduleLedger:
    return ScheduleLedger(world.ledger, Schedule.by_settings(time(8), "Asia/Seoul"))


def test_the_deadline_moves_with_the_time_that_somebody_sets(world: World) -> None:
    today = datetime.now(ZONE).date()
    yesterday = today - timedelta(days=1)
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", yesterday))
    schedules(world).set(ScheduleUpdate(build_at=time(10)), "kim", world.clock("07:50"))
    for moment in ("08:00", "09:00", "10:59"):
        world.watcher.poll(world.clock(moment))
    assert world.alerts() == []
    world.watcher.poll(world.clock("11:00"))
    assert world.alerts() == [
        (f"overdue:{today}", f"Daily build of {today} has not begun (at 11:00 KST)")
    ]


def test_a_time_whose_deadline_is_over_when_it_is_set_is_no_alert(world: World) -> None:
    yesterday = datetime.now(ZONE).date() - timedelta(days=1)
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", yesterday))
    schedules(world).set(ScheduleUpdate(build_at=time(15)), "kim", world.clock("07:00"))
    world.watcher.poll(world.clock("07:30"))
    schedules(world).set(ScheduleUpdate(build_at=time(8)), "kim", world.clock("10:30"))
    world.watcher.poll(world.clock("10:31"))
    assert world.alerts() == []


def test_a_pause_says_in_its_alert_who_has_paused_until_when_and_why(world: World) -> None:
    today = datetime.now(ZONE).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    asked_at = world.clock("08:00", yesterday)
    world.run(RunState.SUCCESS, cause="schedule", morning=yesterday, asked_at=asked_at)
    until = world.clock("12:00", tomorrow)
    pause = ScheduleUpdate(paused=True, paused_until=until, why="inventory")
    schedules(world).set(pause, "kim", world.clock("07:00"))
    world.watcher.poll(world.clock("08:00"))
    world.watcher.poll(world.clock("09:00"))
    world.watcher.poll(world.clock("09:00", tomorrow))
    world.watcher.poll(world.clock("13:00", tomorrow))
    assert [key for key, _ in world.alerts()] == [f"overdue:{today}"]
    assert f"Why: it is paused until {tomorrow} 12:00 KST by kim (inventory)" in world.bodies()


def test_mage_that_is_down_is_named_as_the_reason(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.live = commit("b" * 40)
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.home.processes.write_text(json.dumps([{"name": "mage", "state": "restarting"}]))
    world.watcher.poll(world.clock("08:00"))
    world.watcher.poll(world.clock("09:00"))
    assert "Why: Mage is restarting" in world.bodies()


def test_a_run_and_its_reruns_have_an_alert_for_each_new_failure_and_one_recovery(
    world: World,
) -> None:
    today = datetime.now(ZONE).date()
    first = world.end(RunState.ERROR, {"a": "error"}, cause="schedule", morning=today)
    rerun = {"operation": "rerun_failed", "of": first}
    world.end(RunState.ERROR, {"a": "error"}, **rerun)
    other = world.end(RunState.ERROR, {"a": "success", "b": "error"}, **rerun)
    fixed = world.end(RunState.SUCCESS, {"b": "success"}, **rerun, caller="lee")
    again = world.end(RunState.SUCCESS, {"b": "success"}, **rerun)
    world.restart()
    world.watcher.poll()
    alerts = dict(world.alerts())
    assert set(alerts) == {
        f"failure:{first}",
        f"failure:{other}",
        f"recovery:failure:{other}",
    }
    assert alerts[f"failure:{other}"] == f"Rerun of daily build of {today} failed: b"
    assert alerts[f"recovery:failure:{other}"] == f"Fixed: daily build of {today}"
    assert f"show {fixed}" in world.bodies() and f"show {again}" not in world.bodies()


def test_a_failure_that_cannot_be_explained_has_its_alert_all_the_same(world: World) -> None:
    def fails(run: str) -> Explanation:
        raise ValueError(run)

    world.explain = fails
    world.restart()
    run = world.run(RunState.ERROR, "1 of 1 nodes did not pass.", cause="api")
    world.watcher.poll()
    assert [key for key, _ in world.alerts()] == [f"failure:{run}"]
    assert "Why: 1 of 1 nodes did not pass." in world.bodies()


def test_the_next_green_daily_build_is_the_recovery_of_a_failed_one(world: World) -> None:
    """Each date's build has an alert: silence would mean that it is green. It recovers once."""
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
    world.watcher.poll()
    assert [key for key, _ in world.alerts()] == [
        *(f"failure:{one}" for one in failed),
        f"recovery:failure:{failed[-1]}",
    ]
    assert "How: the next daily build" in world.bodies() and f"show {green}" in world.bodies()
    (again,) = [line for line in world.bodies().split("\n") if "KST, as " in line]
    assert again.startswith("Failed: a (1 of 1 nodes), ")


def test_the_same_failure_of_the_same_request_has_one_alert_and_one_recovery(
    world: World,
) -> None:
    by_bot = {"cause": "api", "caller": "API: bot", "select": "hourly"}
    bad, good = {"hourly": "error", "after": "skipped"}, {"hourly": "success", "after": "success"}
    first = world.end(RunState.ERROR, bad, **by_bot)
    for caller in ("API: bot", "API: another", "API: bot"):
        world.end(RunState.ERROR, bad, **(by_bot | {"caller": caller, "why": "again"}))
    world.restart()
    world.watcher.poll()
    assert [key for key, _ in world.alerts()] == [f"failure:{first}"]
    fixed = world.end(RunState.SUCCESS, good, cause="tool", caller="kim", select="hourly")
    world.end(RunState.SUCCESS, good, **by_bot)
    assert [key for key, _ in world.alerts()] == [f"failure:{first}", f"recovery:failure:{first}"]
    assert "Fixed: build of hourly by API: bot" in dict(world.alerts())[f"recovery:failure:{first}"]
    assert "How: the same was asked for again" in world.bodies()
    assert "By: kim (tool)" in world.bodies() and f"show {fixed}" in world.bodies()
    later = world.end(RunState.ERROR, bad, **by_bot)  # a new failure
    world.restart()  # and one that looks back at all of this finds nothing more
    world.watcher.poll()
    assert [key for key, _ in world.alerts()][2:] == [f"failure:{later}"]


def test_other_requests_and_other_nodes_are_other_failures(world: World) -> None:
    api = {"cause": "api", "select": "hourly"}
    runs = [
        world.end(RunState.ERROR, {"a": "error"}, **api),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, **api),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, **api, variables={"size": 4}),
        world.end(RunState.ERROR, {"a": "error", "b": "fail"}, cause="api", select="hourly+"),
    ]
    assert [key for key, _ in world.alerts()] == [f"failure:{one}" for one in runs]


def test_it_is_over_when_all_that_did_not_pass_has_passed_in_whatever_runs(world: World) -> None:
    bad = {"a": "error", "b": "skipped", "c": "success"}
    failed = world.end(RunState.ERROR, bad, cause="api", select="a+")
    world.end(RunState.SUCCESS, {"a": "success"}, cause="form", select="a", variables={"n": 1})
    world.end(RunState.SUCCESS, {"a": "success"}, cause="form", select="a")
    assert len(world.alerts()) == 1  # with other variables it is another table; and b is left
    other = {"b": "success", "d": "error"}
    world.end(RunState.ERROR, other, cause="tool", select="b d", caller="lee")
    assert [key for key, _ in world.alerts()] == [f"failure:{failed}", f"recovery:failure:{failed}"]
    assert "How: all of it has passed in other runs, 1 nodes passed" in world.bodies()


def test_a_rerun_of_an_older_failure_is_not_the_end_of_a_newer_one(world: World) -> None:
    today = datetime.now(ZONE).date()
    daily_builds = [
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
    world.end(RunState.SUCCESS, good, operation="rerun_failed", of=daily_builds[0])
    assert len(world.alerts()) == 2
    good = {"a": "success", "c": "success"}
    world.end(RunState.SUCCESS, good, operation="rerun_failed", of=daily_builds[1])
    assert [key for key, _ in world.alerts()][2:] == [f"recovery:failure:{daily_builds[1]}"]


def test_an_overdue_build_that_somebody_begins_by_hand_is_done_after_all(world: World) -> None:
    today = datetime.now(ZONE).date()
    world.run(RunState.SUCCESS, asked_at=world.clock("08:00", today - timedelta(days=1)))
    world.watcher.poll(world.clock("08:59"))
    world.watcher.poll(world.clock("09:00"))
    world.end(RunState.SUCCESS, {"a": "success"}, select="a", asked_at=world.clock("09:10"))
    world.end(RunState.SUCCESS, {"a": "success"}, asked_at=world.clock("09:20"), caller="lee")
    world.end(RunState.SUCCESS, {"a": "success"}, asked_at=world.clock("09:30"))
    assert {key for key, _ in world.alerts()} == {f"overdue:{today}", f"recovery:overdue:{today}"}
    assert " by lee: 1 nodes passed" in world.bodies()


def test_a_daily_build_that_somebody_cancelled_is_missing_at_the_deadline(world: World) -> None:
    today = datetime.now(ZONE).date()
    detail = "Cancelled by kim with mage-dbt."
    run = world.run(RunState.CANCELLED, detail, cause="schedule", morning=today)
    world.watcher.poll(world.clock("08:59"))
    assert world.alerts() == []
    world.watcher.poll(world.clock("09:00"))
    ((key, title),) = world.alerts()
    assert key == f"overdue:{today}" and "was cancelled" in title
    assert f"Why: {detail}" in world.bodies() and f"show {run}" in world.bodies()
    world.end(RunState.SUCCESS, {"a": "success"}, operation="rerun_failed", of=run)
    assert {key for key, _ in world.alerts()} == {f"overdue:{today}", f"recovery:overdue:{today}"}


def test_a_cancelled_daily_build_that_was_done_again_is_no_news(world: World) -> None:
    today = datetime.now(ZONE).date()
    detail = "Cancelled by kim with mage-dbt."
    world.run(RunState.CANCELLED, detail, cause="schedule", morning=today)
    world.end(RunState.SUCCESS, {"a": "success"}, caller="kim")
    world.watcher.poll(world.clock("09:00"))
    assert world.alerts() == []


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
    world.watcher.poll()
    assert {key for key, _ in world.alerts()} == {f"failure:{by_bot}", f"failure:{cut}"}


def test_the_message_links_to_the_runs_page(world: World) -> None:
    run = world.run(RunState.ERROR, "x", cause="api")
    world.watcher.poll()
    assert f"  http://127.0.0.1:{world.settings.runner_port}/runs/{run}" in world.bodies()


def test_a_broken_commit_has_an_alert_when_it_stays_so_and_main_one_when_repaired(
    world: World,
) -> None:
    now = datetime.now(UTC)
    error = CommitBroken("dbt cannot parse aaaaaaa: no such macro", "Push a repair.")
    world.broken = Broken("a" * 40, "Use a macro", "Kim", error, now.timestamp())
    world.watcher.poll(now)
    world.watcher.poll(now + BROKEN_FOR - timedelta(seconds=1))
    assert world.alerts() == []
    world.watcher.poll(now + BROKEN_FOR)
    world.restart()
    world.watcher.poll(now + 2 * BROKEN_FOR)
    world.watcher.poll(now + 4 * BROKEN_FOR)
    assert world.alerts() == [(f"broken:{'a' * 40}", "main is broken at aaaaaaa by Kim")]
    assert "no such macro" in world.bodies()
    world.broken, world.live = None, commit("b" * 40)
    world.watcher.poll(now + 5 * BROKEN_FOR)
    world.restart()
    world.watcher.poll(now + 6 * BROKEN_FOR)
    assert [key for key, _ in world.alerts()][1:] == [f"recovery:broken:{'a' * 40}"]


def test_main_that_stays_broken_for_one_reason_has_one_alert_and_one_when_repaired(
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
        world.watcher.poll(now)
        now += BROKEN_FOR
        world.watcher.poll(now)

    push("a" * 40, "Kim", "no such macro")
    push("b" * 40, "Lee", "no such macro")  # an innocent push on a main that is broken
    assert world.alerts() == [(f"broken:{'a' * 40}", "main is broken at aaaaaaa by Kim")]
    push("c" * 40, "Lee", "no such model")
    assert [key for key, _ in world.alerts()][1:] == [f"broken:{'c' * 40}"]
    world.broken, world.live = None, commit("d" * 40)
    world.watcher.poll(now + BROKEN_FOR)
    world.restart()
    world.watcher.poll(now + 2 * BROKEN_FOR)
    assert [key for key, _ in world.alerts()][2:] == [f"recovery:broken:{'c' * 40}"]
    assert "aaaaaaa and ccccccc were broken" in world.bodies()


def test_each_channel_that_was_not_reached_is_taken_up_by_the_next_runner(world: World) -> None:
    (port,) = free_ports(1)
    with service() as good:
        world.home.alert_urls.write_text(f"{good.address()}\njson://127.0.0.1:{port}\n")
        run = world.run(RunState.ERROR, "x", cause="api")
        key = f"failure:{run}"

        def tried(outcomes: set[tuple[str, str]]) -> None:
            def probe() -> bool | str:
                world.watcher.poll()
                return outcomes <= world.outcomes(key) or str(world.outcomes(key))

            wait_until(f"{outcomes}", probe)

        tried({("line 1, JSON", "delivered"), ("line 2, JSON", "failed")})
        world.restart()
        with service(port=port) as back:
            tried({("line 2, JSON", "delivered")})
            assert len(back.received) == len(good.received) == 1


def test_a_file_that_cannot_be_read_leaves_everything_for_later(world: World) -> None:
    world.home.alert_urls.write_bytes(b"\xff\xfe\x00")
    world.run(RunState.ERROR, "x", cause="api")
    world.watcher.poll()
    assert world.alerts() == []
    with service() as good:
        world.home.alert_urls.write_text(good.address())

        def probe() -> bool | str:
            world.watcher.poll()
            return bool(good.received) or "nothing received"

        wait_until("the message", probe)
    assert len(world.alerts()) == 1


def test_a_run_that_ended_long_ago_has_no_alert(world: World) -> None:
    world.run(RunState.ERROR, "x", cause="api")
    world.watcher.poll(datetime.now(UTC) + timedelta(hours=13))
    assert world.alerts() == []


def test_changed_columns_have_one_message_for_each_model_and_set_of_columns(world: World) -> None:
    def survey(sha: str, **columns: str) -> Survey:
        changed = tuple(
            ColumnsChanged(
                f"model.m.{name}",
                name,
                f"a.{name}",
                "ignore",
                tuple(ColumnChange(column, "", "text") for column in added.split()),
            )
            for name, added in columns.items()
        )
        return Survey(sha, datetime.now(UTC), changed)

    def titles() -> list[str]:
        return [title for _, title in world.alerts()]

    world.live, world.survey = commit(SHA), survey("of the commit before", a="x")
    world.watcher.poll()
    assert titles() == []
    world.survey = survey(SHA, a="x", b="y z")
    world.watcher.poll()
    world.watcher.poll()
    assert titles() == ["Columns changed at 3f2c1ab: a and 1 more"] * 2  # the second is silent
    world.restart()
    world.survey = survey(SHA, b="z y", a="x")
    world.watcher.poll()
    assert len(titles()) == 2
    world.survey = survey(SHA, a="x", b="y")
    world.watcher.poll()
    assert titles()[2:] == ["Columns changed at 3f2c1ab: b"]
