"""How the daily build stands: its state, the calendar strip, and what the button does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.base.clock import Clock
from mage_dbt.client.now_line import now_line
from mage_dbt.ledger.builds import Built
from mage_dbt.model.explanation import Cause, Explanation, FailedNode
from mage_dbt.model.failure import FailureClass
from mage_dbt.model.now import Colour, Now, NowState, Preparing, RerunOffer
from mage_dbt.model.request import Cause as AskedBy
from mage_dbt.model.request import Operation, Request
from mage_dbt.model.run import Run, RunState
from mage_dbt.model.schedule import Schedule
from mage_dbt.runner import now as maker
from mage_dbt.runner.now import days, explained_run, missed_at, offer, state_of

SEOUL = ZoneInfo("Asia/Seoul")
DUE = datetime(2026, 11, 27, 23, 0, tzinfo=UTC)  # 08:00 on the 28th in Seoul
TODAY = date(2026, 11, 28)
SCHEDULE = Schedule(time(8), "Asia/Seoul")
BROKEN, REPAIR = "9f31c2e" + "0" * 33, "a34fcf3" + "0" * 33
BUILD, RERUN = "20261127-230000-aaaaaa", "20261127-233000-bbbbbb"


def build(state: RunState, **more: object) -> Run:
    values = {
        "id": BUILD,
        "operation": Operation.BUILD,
        "state": state,
        "detail": "",
        "asked_at": DUE,
        "started_at": DUE,
        "finished_at": DUE + timedelta(minutes=4) if state.final else None,
        "request": Request(Operation.BUILD),
        "commit": BROKEN,
        "commit_subject": "Rename discount code",
        "target": "prod",
        "dbt_version": "1.11",
        "cause": AskedBy.SCHEDULE,
        "caller": "Mage",
        "why": "",
        "mage_run": None,
        "follows": None,
        "morning": TODAY.isoformat(),
        "late_seconds": 0,
    }
    return Run(**{**values, **more})  # type: ignore[arg-type]


def rerun(state: RunState) -> Run:
    return build(
        state,
        id=RERUN,
        operation=Operation.RERUN_FAILED,
        asked_at=DUE + timedelta(minutes=30),
        follows=BUILD,
        morning=None,
        commit=REPAIR,
    )


def explained(failure_class: FailureClass = FailureClass.CODE, left: int = 37) -> Explanation:
    node = FailedNode("model.shop.fct_orders", "fct_orders", "model", "", "no such column")
    cause = Cause(failure_class, "42703", "t", "s", (node,))
    whole_at = DUE + timedelta(seconds=40)
    return Explanation(BUILD, (cause,), left, whole_at, rerun_seconds=40.0)


@pytest.mark.parametrize(
    ("story", "failed", "whole", "state"),
    [
        ([], 0, False, NowState.NEVER_BUILT),
        ([build(RunState.RUNNING)], 0, False, NowState.RUNNING),
        ([build(RunState.QUEUED)], 0, False, NowState.WAITING),
        ([build(RunState.STARTING)], 0, False, NowState.RUNNING),
        ([build(RunState.RUNNING)], 1, False, NowState.FAILING),
        ([build(RunState.SUCCESS)], 0, False, NowState.PASSED),
        ([build(RunState.ERROR)], 1, False, NowState.FAILED),
        ([build(RunState.ERROR)], 1, True, NowState.REPAIRED),
        ([build(RunState.ERROR), rerun(RunState.QUEUED)], 1, False, NowState.RERUNNING),
        ([build(RunState.ERROR), rerun(RunState.ERROR)], 1, False, NowState.FAILED),
        ([build(RunState.ERROR), rerun(RunState.CANCELLED)], 1, False, NowState.FAILED),
        ([build(RunState.ERROR), rerun(RunState.SUCCESS)], 1, False, NowState.REPAIRED),
        ([build(RunState.CANCELLED, detail="Cancelled by kim.")], 0, False, NowState.CANCELLED),
        (
            [build(RunState.CANCELLED, detail="Cancelled: the runner was stopped.")],
            0,
            False,
            NowState.FAILED,
        ),
        (
            [build(RunState.CANCELLED), rerun(RunState.SUCCESS)],
            0,
            False,
            NowState.REPAIRED,
        ),
    ],
)
def test_the_state_is_that_of_the_newest_build_with_its_reruns(
    story: list[Run], failed: int, whole: bool, state: NowState
) -> None:
    found = state_of(story, failed, whole=whole, missed=None, live=True, preparing=False)
    assert found is state
    assert state in maker.COLOURS


def test_without_a_ready_commit_nothing_can_be_built_and_a_failure_stays_one() -> None:
    def state(story: list[Run], preparing: bool = False) -> NowState:
        return state_of(story, 0, whole=False, missed=None, live=False, preparing=preparing)

    assert state([]) is NowState.NOTHING_READY
    assert state([], preparing=True) is NowState.NOTHING_READY
    assert state([build(RunState.SUCCESS)]) is NowState.NOTHING_READY
    assert state([build(RunState.SUCCESS)], preparing=True) is NowState.PASSED, "after a restart"
    assert state([build(RunState.ERROR)]) is NowState.FAILED


def test_a_daily_build_that_has_not_begun_is_missed_five_minutes_after_it_was_due() -> None:
    yesterday = build(RunState.SUCCESS, asked_at=DUE - timedelta(days=1), morning="2026-11-27")
    assert missed_at(SCHEDULE, yesterday, DUE + timedelta(minutes=5)) is None
    assert missed_at(SCHEDULE, yesterday, DUE + timedelta(minutes=6)) == DUE
    assert missed_at(SCHEDULE, build(RunState.RUNNING), DUE + timedelta(minutes=6)) is None
    by_hand = replace(yesterday, asked_at=DUE + timedelta(minutes=5), morning=None)
    assert missed_at(SCHEDULE, by_hand, DUE + timedelta(hours=1)) is None
    assert missed_at(SCHEDULE, None, DUE + timedelta(hours=1)) is None, "a new workspace"
    paused = replace(SCHEDULE, paused=True)
    assert missed_at(paused, yesterday, DUE + timedelta(hours=1)) is None


def built(back: int, state: RunState, repaired: bool = False, daily: bool = True) -> Built:
    day = TODAY - timedelta(days=back)
    return Built(day, f"run-{back}-{daily}", daily, DUE - timedelta(days=back), state, repaired)


def test_the_strip_shows_each_days_daily_build_and_what_became_of_it() -> None:
    builds = [
        built(6, RunState.SUCCESS),
        built(5, RunState.ERROR, repaired=True),
        built(4, RunState.ERROR),
        replace(built(4, RunState.SUCCESS, daily=False), asked_at=DUE - timedelta(days=3.9)),
        built(2, RunState.CANCELLED),
        built(1, RunState.ERROR),
        built(0, RunState.RUNNING),
    ]
    shown = days(builds, TODAY, None, NowState.RUNNING)
    assert len(shown) == maker.DAYS and shown[-1].day == TODAY.isoformat()
    states = [day.state for day in shown[-7:]]
    assert states == ["green", "repaired", "repaired", "none", "cancelled", "red", "running"]
    assert shown[-5].run == "run-4-True", "the daily build, not the later one"


def test_a_build_that_waits_is_not_shown_as_running() -> None:
    for state, word in (
        (RunState.QUEUED, "waiting"),
        (RunState.STARTING, "running"),
        (RunState.RUNNING, "running"),
    ):
        assert days([built(0, state)], TODAY, None, NowState.RUNNING)[-1].state == word


def test_a_build_that_became_whole_by_other_runs_is_repaired_on_the_strip() -> None:
    newest = build(RunState.ERROR)
    own = replace(built(0, RunState.ERROR), run=newest.id)
    assert days([own], TODAY, newest, NowState.REPAIRED)[-1].state == "repaired"
    assert days([own], TODAY, newest, NowState.FAILED)[-1].state == "red"


def of(
    state: NowState = NowState.FAILED,
    story: tuple[Run, ...] = (build(RunState.ERROR),),
    explanation: Explanation | None = None,
    live: str | None = BROKEN,
    preparing: bool = False,
) -> RerunOffer:
    made = Preparing(REPAIR, "Use the new name", "lee", DUE, 6.0) if preparing else None
    found = offer(
        story,
        state,
        explanation or explained(),
        (live, "") if live else None,
        made,
        DUE,
    )
    assert found
    return found


def test_the_button_waits_for_the_repair_that_is_being_made_ready() -> None:
    waits = of(preparing=True)
    assert not waits.allowed and waits.why_not == "being made ready"
    assert waits.commit == REPAIR and waits.ready_in_seconds == 6.0 and not waits.same_commit
    assert waits.whole_at == DUE + timedelta(seconds=46) and waits.nodes == 37
    ready = of(live=REPAIR)
    assert ready.allowed and ready.commit == REPAIR and not ready.same_commit


def test_how_long_it_takes_is_said_also_where_it_fails_again() -> None:
    fails_again = replace(explained(), whole_at=None)
    found = of(explanation=fails_again)
    assert found.allowed and found.same_commit and found.nodes == 37
    assert (found.seconds, found.whole_at) == (40.0, None)


def test_what_was_of_the_machine_waits_for_no_repair() -> None:
    found = of(explanation=explained(FailureClass.INFRASTRUCTURE), preparing=True)
    assert found.allowed and found.commit == BROKEN and found.same_commit


def test_the_button_says_why_it_cannot_be_pressed() -> None:
    assert of(NowState.FAILING, (build(RunState.RUNNING),)).why_not == "still running"
    going_on = (build(RunState.ERROR), rerun(RunState.RUNNING))
    assert of(NowState.RERUNNING, going_on).why_not == "rerunning"
    assert of(live=None).why_not == "nothing ready"
    assert of(explanation=explained(left=0)).why_not == "nothing left"


def test_on_the_commit_of_the_last_failed_rerun_it_fails_again() -> None:
    again = (build(RunState.ERROR), rerun(RunState.ERROR))
    assert of(story=again, live=REPAIR).same_commit
    assert not of(story=again, live=BROKEN).same_commit


def test_nothing_is_offered_for_what_is_green() -> None:
    story = (build(RunState.SUCCESS),)
    assert offer(story, NowState.PASSED, None, (BROKEN, ""), None, DUE) is None


def test_the_newest_failure_is_the_one_that_is_explained() -> None:
    assert explained_run([], 0) is None
    assert explained_run([build(RunState.SUCCESS)], 0) is None
    assert explained_run([build(RunState.RUNNING)], 0) is None
    assert explained_run([build(RunState.RUNNING)], 2) == BUILD
    assert explained_run([build(RunState.ERROR), rerun(RunState.ERROR)], 1) == RERUN
    assert explained_run([build(RunState.ERROR), rerun(RunState.RUNNING)], 1) == BUILD
    assert explained_run([build(RunState.CANCELLED)], 0) == BUILD


def now(state: NowState, **more: object) -> Now:
    values = {
        "at": DUE + timedelta(minutes=20),
        "state": state,
        "colour": Colour.RED,
        "build": BUILD,
        "day": TODAY.isoformat(),
        "cause": "schedule",
        "caller": "Mage",
        "detail": "",
        "begun_at": DUE,
        "ended_at": DUE + timedelta(minutes=4),
        "commit": BROKEN,
        "commit_subject": "",
        "nodes": 182,
        "passed": 145,
        "gone": 0,
        "new": (),
        "seconds": 240.0,
        "reruns": 0,
        "rerunning": "",
        "repaired_by": "",
        "explanation": explained(),
        "rerun": of(),
        "preparing": None,
        "missed_at": None,
        "over_by": None,
        "next_build": None,
        "next_build_paused": False,
        "usual_seconds": None,
        "days": (),
        "active": (),
        "mage_answers": True,
    }
    return Now(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stands", "line"),
    [
        (
            now(NowState.FAILED, rerun=of(live=REPAIR)),
            f"failed at 08:04 KST: fct_orders; rerun: mage-dbt run rerun_failed --of {BUILD}",
        ),
        (
            now(NowState.FAILED, rerun=of(preparing=True)),
            "failed at 08:04 KST: fct_orders; a34fcf3 is being made ready (about 6 s left)",
        ),
        (
            now(NowState.RERUNNING, rerunning=RERUN),
            f"failed at 08:04 KST: fct_orders; being rerun: run {RERUN}",
        ),
        (now(NowState.WAITING, detail="waiting for a, held by b"), "waiting for a, held by b"),
        (now(NowState.RUNNING), "running since 08:00 KST, 145 of 182 passed"),
        (now(NowState.FAILING), "running since 08:00 KST, and failing: fct_orders"),
        (now(NowState.PASSED, passed=182), "passed at 08:04 KST, 182 of 182"),
        (now(NowState.REPAIRED), "failed, and whole again at 08:04 KST"),
        (now(NowState.NEVER_BUILT), "nothing has been built yet"),
        (now(NowState.NOTHING_READY), "nothing can be built: no commit is ready"),
        (
            now(NowState.MISSED, missed_at=DUE),
            "the one due at 08:00 KST has not begun; "
            'build: mage-dbt run --why "the daily build was missed"',
        ),
    ],
)
def test_the_tool_tells_the_same_in_one_line(stands: Now, line: str) -> None:
    assert now_line(stands, Clock(SEOUL, stands.at)).replace("./scripts/", "") == line


def test_now_is_read_back_as_it_was_written() -> None:
    stands = now(NowState.FAILED)
    assert Now.from_json(stands.to_json()) == stands
