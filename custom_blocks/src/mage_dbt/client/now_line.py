"""How the daily build stands, as one line of the tool."""

from __future__ import annotations

from datetime import datetime

from mage_dbt.base.clock import Clock
from mage_dbt.base.lists import short_list
from mage_dbt.base.tool_command import tool_command
from mage_dbt.model.now import Now, NowState, WhyNot

MOST_NAMED = 3
"""Failed nodes in the line; more are counted."""


def now_line(now: Now, clock: Clock) -> str:
    """`failed at 08:04 KST: fct_orders; rerun: ./scripts/mage-dbt run rerun_failed`."""

    def at(moment: datetime | None) -> str:
        return f"at {clock.say_with_zone(moment)}" if moment else ""

    state = now.state
    failed = _failed(now)
    if state is NowState.NOTHING_READY:
        return "nothing can be built: no commit is ready"
    if state is NowState.NEVER_BUILT:
        return "nothing has been built yet"
    if state is NowState.MISSED:
        build = tool_command('run --why "the daily build was missed"')
        return f"the one due {at(now.missed_at)} has not begun; build: {build}"
    if state is NowState.WAITING:
        return now.detail or "about to begin"
    if state is NowState.RUNNING:
        return f"running since {_since(now, clock)}, {now.passed} of {now.nodes} passed"
    if state is NowState.FAILING:
        return f"running since {_since(now, clock)}, and failing{failed}"
    if state is NowState.RERUNNING:
        rerun = now.progress_of(now.rerunning)
        waits = f", {rerun.detail}" if rerun and rerun.waits and rerun.detail else ""
        return f"failed {at(now.ended_at)}{failed}; being rerun: run {now.rerunning}{waits}"
    if state is NowState.REPAIRED:
        return f"failed, and whole again {at(now.ended_at)}"
    if state is NowState.PASSED:
        return f"passed {at(now.ended_at)}, {now.passed} of {now.nodes}"
    word = "cancelled" if state is NowState.CANCELLED else "failed"
    return f"{word} {at(now.ended_at)}{failed}{_rerun(now)}"


def _since(now: Now, clock: Clock) -> str:
    return clock.say_with_zone(now.begun_at or now.at)


def _failed(now: Now) -> str:
    causes = now.explanation.causes if now.explanation else ()
    names = [node.name for cause in causes for node in cause.nodes]
    return f": {short_list(names, MOST_NAMED)}" if names else ""


def _rerun(now: Now) -> str:
    offer = now.rerun
    if offer is None or offer.why_not is WhyNot.NOTHING_LEFT:
        return ""
    if offer.why_not is WhyNot.BEING_MADE_READY:
        left = offer.ready_in_seconds
        soon = f" (about {left:.0f} s left)" if left else ""
        return f"; {offer.commit[:7]} is being made ready{soon}"
    if not offer.allowed:
        return ""
    command = tool_command(f"run rerun_failed --of {offer.run}")
    again = " (on the same commit it failed)" if offer.same_commit else ""
    return f"; rerun{again}: {command}"
