"""What of a failed run is left, on a commit in which models moved on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mage_dbt.base.clock import Clock
from mage_dbt.commits.history import Changes
from mage_dbt.errors import NothingLeft
from mage_dbt.ledger.ledger import Outcome
from mage_dbt.model.command import Command
from mage_dbt.model.commit import Commit, KnownNode
from mage_dbt.model.plan import PlannedNode
from mage_dbt.model.refresh import RefreshStep, Step
from mage_dbt.model.request import Cause, Operation, Request
from mage_dbt.model.run import NodeResult, Run, RunState
from mage_dbt.model.windows import Filled, Window
from mage_dbt.runner.rerun import PastRun, Rerun, choose

BEGUN = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)  # 08:00 in Seoul
CLOCK = Clock(ZoneInfo("Asia/Seoul"), BEGUN + timedelta(minutes=31))
SAME = Changes({}, frozenset())
ROOT = "20261122-230000-aaaaaa"
OTHER = "20261122-231000-bbbbbb"


def planned(name: str, *reads: str, kind: str = "model") -> PlannedNode:
    path = f"models/{name}.sql" if kind == "model" else "models/all.yml"
    return PlannedNode(
        f"{kind}.shop.{name}",
        name,
        kind,
        depends_on=tuple(f"model.shop.{up}" for up in reads),
        path=path,
    )


def result(name: str, status: str, kind: str = "model", because: str = "") -> NodeResult:
    return NodeResult(f"{kind}.shop.{name}", name, kind, status, because=because)


def run(
    *nodes: NodeResult, state: RunState = RunState.ERROR, id: str = ROOT, sha: str = "a" * 40
) -> Run:
    return Run(
        id=id,
        operation=Operation.BUILD,
        state=state,
        detail="it failed",
        asked_at=BEGUN,
        started_at=BEGUN,
        finished_at=BEGUN + timedelta(minutes=9),
        request=Request(Operation.BUILD),
        commit=sha,
        commit_subject="",
        target="prod",
        dbt_version="1.11",
        cause=Cause.SCHEDULE,
        caller="Mage",
        why="",
        mage_run=None,
        follows=None,
        morning=None,
        late_seconds=0,
        planned=(),
        nodes=nodes,
    )


def outcomes(chapter: Run, minute: int = 4) -> dict[str, Outcome]:
    return {
        one.node: Outcome(
            one.node,
            one.name,
            one.status,
            BEGUN + timedelta(minutes=minute),
            chapter.id,
            one.because,
            chapter.caller,
        )
        for one in chapter.nodes
    }


def commit(*nodes: PlannedNode, disabled: tuple[PlannedNode, ...] = ()) -> Commit:
    known = [KnownNode(one.node, one.name, one.type, one.path) for one in nodes]
    off = [KnownNode(one.node, one.name, one.type, one.path, False) for one in disabled]
    return Commit(
        sha="c" * 40,
        subject="",
        author="",
        committed_at="",
        folder=Path("/"),
        project=Path("/"),
        profile="",
        dbt_version="",
        adapter="",
        target="prod",
        models=(),
        variables=None,
        nodes=(*known, *off),
    )


STG = planned("stg")
FCT = planned("fct_order", "stg")
REPORT = planned("report", "fct_order")
TEST = planned("unique_fct_order_id", "fct_order", kind="test")
FAILED = run(
    result("stg", "success"),
    result("fct_order", "error"),
    result("report", "skipped", because="fct_order"),
    result("unique_fct_order_id", "skipped", "test"),
)
PLANNED = (STG, FCT, REPORT, TEST)


def chosen(
    on: Commit,
    latest: Mapping[str, Outcome] | None = None,
    changes: Changes | None = SAME,
    builds: bool = True,
    root: Run = FAILED,
    nodes: tuple[PlannedNode, ...] = PLANNED,
) -> Rerun:
    found = outcomes(root) if latest is None else latest
    command = Command("build" if builds else "test")
    return choose([PastRun(root, nodes, changes)], found, on, command, CLOCK)


def told(found: Rerun) -> tuple[str, ...]:
    """All that is said when nothing of what is left out comes back into the plan."""
    return (*(one.sentence(()) for one in found.left_out), *found.notes)


def test_what_failed_and_was_skipped_is_left_and_says_when() -> None:
    found = chosen(commit(*PLANNED))
    assert found.nodes == {
        FCT.node: f"failed at 08:04 KST in run {ROOT}",
        REPORT.node: f"skipped at 08:04 KST in run {ROOT} because fct_order did not pass",
        TEST.node: f"skipped at 08:04 KST in run {ROOT}",
    }
    assert told(found) == ()


def test_what_was_never_reached_is_left() -> None:
    root = run(result("stg", "success"), state=RunState.CANCELLED)
    found = chosen(commit(*PLANNED), root=root)
    assert set(found.nodes) == {FCT.node, REPORT.node, TEST.node}
    assert found.nodes[FCT.node] == f"never reached in run {ROOT}"


def test_what_succeeded_since_is_left_out_and_named_with_its_run() -> None:
    fixed = run(result("fct_order", "success"), id=OTHER)
    found = chosen(commit(*PLANNED), outcomes(FAILED) | outcomes(fixed, 10))
    assert set(found.nodes) == {REPORT.node, TEST.node}
    said = f"fct_order has succeeded since, by 08:10 KST in run {OTHER} (Mage): left out."
    assert told(found) == (said,)
    assert found.left_out[0].sentence({FCT.node}) == ""


def test_when_all_has_succeeded_since_nothing_is_left_and_the_run_is_named() -> None:
    fixed = run(
        result("fct_order", "success"),
        result("report", "success"),
        result("unique_fct_order_id", "pass", "test"),
        id=OTHER,
    )
    with pytest.raises(NothingLeft, match=f"fct_order, report.* since.* run {OTHER}"):
        chosen(commit(*PLANNED), outcomes(FAILED) | outcomes(fixed, 10))


def test_a_failed_test_takes_the_model_it_reads_along() -> None:
    root = run(
        result("stg", "success"),
        result("fct_order", "success"),
        result("unique_fct_order_id", "fail", "test"),
    )
    nodes = (STG, FCT, TEST)
    found = chosen(commit(*nodes), root=root, nodes=nodes)
    assert set(found.nodes) == {FCT.node, TEST.node}
    assert "its test unique_fct_order_id failed at 08:04 KST" in found.nodes[FCT.node]
    assert set(chosen(commit(*nodes), root=root, nodes=nodes, builds=False).nodes) == {TEST.node}
    built = run(result("fct_order", "success"), id=OTHER)
    since = outcomes(root) | outcomes(built, 10)
    assert set(chosen(commit(*nodes), since, root=root, nodes=nodes).nodes) == {TEST.node}


def test_what_a_failed_model_is_made_of_and_was_edited_since_is_built_again() -> None:
    raw = planned("raw")
    stg = planned("stg", "raw")
    fct = planned("fct_order", "stg")
    nodes = (raw, stg, fct, REPORT, TEST)
    root = run(result("raw", "success"), *FAILED.nodes)
    edited = Changes({}, frozenset(), frozenset({raw.path, REPORT.path}))
    found = chosen(commit(*nodes), root=root, nodes=nodes, changes=edited)
    assert set(found.nodes) == {raw.node, FCT.node, REPORT.node, TEST.node}
    assert found.nodes[raw.node] == "models/raw.sql has changed, and fct_order failed on it"
    assert raw.node not in chosen(commit(*nodes), root=root, nodes=nodes).nodes
    alone = chosen(commit(*nodes), root=root, nodes=nodes, changes=edited, builds=False)
    assert raw.node not in alone.nodes
    # What a model that only waited is made of may have changed too: that is no part of the repair.
    report = planned("report", "fct_order", "prices")
    nodes = (STG, FCT, report, TEST, planned("prices"))
    root = run(result("prices", "success"), *FAILED.nodes)
    edited = Changes({}, frozenset(), frozenset({"models/prices.sql"}))
    found = chosen(commit(*nodes), root=root, nodes=nodes, changes=edited)
    assert planned("prices").node not in found.nodes


def test_a_failed_test_of_a_source_runs_alone() -> None:
    test = PlannedNode("test.shop.fresh", "fresh", "test", depends_on=("source.shop.raw.orders",))
    root = run(result("fresh", "fail", "test"))
    assert set(chosen(commit(test), root=root, nodes=(test,)).nodes) == {test.node}


def test_a_renamed_model_runs_under_its_new_name() -> None:
    new = planned("fct_orders", "stg")
    on = commit(STG, new, REPORT, planned("unique_fct_orders_id", "fct_orders", kind="test"))
    found = chosen(on, changes=Changes({FCT.path: new.path}, frozenset()))
    assert set(found.nodes) == {new.node, REPORT.node}
    assert found.notes == ("fct_order was renamed to fct_orders.",)
    assert found.nodes[new.node] == f"fct_order, renamed since, failed at 08:04 KST in run {ROOT}"


def test_a_renamed_model_that_has_passed_under_its_new_name_is_left_out() -> None:
    new = planned("fct_orders", "stg")
    second = run(result("fct_orders", "success"), result("report", "error"), id=OTHER, sha="b" * 40)
    story = [
        PastRun(FAILED, PLANNED, Changes({FCT.path: new.path}, frozenset())),
        PastRun(second, (new, REPORT), SAME),
    ]
    latest = outcomes(FAILED) | outcomes(second, 10)
    found = choose(story, latest, commit(STG, new, REPORT), Command("build"), CLOCK)
    assert set(found.nodes) == {REPORT.node}
    assert found.nodes[REPORT.node] == f"failed at 08:10 KST in run {OTHER}"


def test_a_deleted_model_is_left_out_with_its_tests() -> None:
    found = chosen(commit(STG, REPORT))
    assert set(found.nodes) == {REPORT.node}
    assert told(found) == ("fct_order was deleted since, and 1 of its tests with it: left out.",)


def test_when_git_cannot_compare_it_says_that_renames_cannot_be_told() -> None:
    found = chosen(commit(STG, REPORT), changes=None)
    assert set(found.nodes) == {REPORT.node}
    assert "git cannot compare aaaaaaa with ccccccc" in told(found)[0]


def test_a_disabled_model_is_left_out() -> None:
    found = chosen(commit(STG, REPORT, TEST, disabled=(FCT,)))
    assert FCT.node not in found.nodes
    assert "fct_order is disabled at ccccccc: left out." in told(found)


def test_when_all_that_failed_was_deleted_nothing_is_left() -> None:
    with pytest.raises(NothingLeft, match="fct_order, report were deleted since"):
        chosen(commit(STG))


def test_a_run_that_never_got_a_plan_runs_whole() -> None:
    found = chosen(commit(*PLANNED), root=run(), nodes=())
    assert found.nodes == {} and "never got as far as a plan" in found.notes[0]


def test_a_run_in_which_every_node_passed_and_that_failed_runs_whole() -> None:
    root = run(result("stg", "success"))
    found = chosen(commit(STG), root=root, nodes=(STG,))
    assert found.nodes == {} and "Every node" in found.notes[0]


def test_a_node_that_a_rerun_added_is_left_when_it_failed_there() -> None:
    new = planned("new_report", "report")
    second = run(
        result("fct_order", "success"),
        result("report", "success"),
        result("unique_fct_order_id", "pass", "test"),
        result("new_report", "error"),
        id=OTHER,
    )
    story = [PastRun(FAILED, PLANNED, SAME), PastRun(second, (FCT, REPORT, TEST, new), SAME)]
    latest = outcomes(FAILED) | outcomes(second, 10)
    found = choose(story, latest, commit(*PLANNED, new), Command("build"), CLOCK)
    assert set(found.nodes) == {new.node}
    assert set(found.planned) == {one.node for one in (*PLANNED, new)}


def test_a_failed_test_builds_no_model_that_nobody_asked_for() -> None:
    test = planned("refers", "fct_order", "dim", kind="test")
    root = run(result("fct_order", "success"), result("refers", "fail", "test"))
    found = chosen(commit(FCT, planned("dim"), test), root=root, nodes=(FCT, test))
    assert set(found.nodes) == {FCT.node, test.node}


def test_a_hook_that_failed_alone_is_named_with_what_runs_for_it() -> None:
    hook = PlannedNode("operation.shop.end", "end", "operation")
    root = run(result("stg", "success"), result("end", "error", "operation"))
    found = chosen(commit(STG, hook), root=root, nodes=(STG,))
    assert found.nodes == {} and found.notes == (
        "Only the hook end failed. dbt runs hooks together with nodes, so its node runs again.",
    )
    passed = outcomes(root) | outcomes(run(result("end", "success", "operation"), id=OTHER), 10)
    with pytest.raises(NothingLeft, match="The hook end has succeeded since, by 08:10 KST"):
        chosen(commit(STG, hook), passed, root=root, nodes=(STG,))


def year(begin: int, end: int) -> Window:
    return Window(datetime(begin, 1, 1, tzinfo=UTC), datetime(end, 1, 1, tzinfo=UTC))


def filling(
    *results: Filled, status: str = "partial success", command: str = "build"
) -> Mapping[str, tuple[Window, ...]]:
    root = run(result("fct_order", status))
    story = [PastRun(root, (FCT,), SAME)]
    filled = {FCT.node: results}
    latest = outcomes(root)
    found = choose(story, latest, commit(FCT), Command.parse(command), CLOCK, filled)
    assert set(found.nodes) == {FCT.node} and found.begun_at == BEGUN
    return found.gaps


def test_the_windows_that_no_later_run_filled_run_again() -> None:
    partial = Filled((year(2022, 2023), year(2024, 2026)), (year(2023, 2024),))
    newest = Filled((year(2025, 2026),))
    assert filling(partial) == {FCT.node: (year(2023, 2024),)}
    assert filling(partial, newest, status="success") == {FCT.node: (year(2023, 2024),)}


def test_a_model_of_which_no_batch_was_filled_runs_as_at_first() -> None:
    nothing = Filled((), (year(2022, 2026),))
    assert filling(nothing, status="error") == {}
    cut_off = Filled((), (year(2022, 2026),), cut_off=True)
    assert filling(cut_off, status="error") == {FCT.node: (year(2022, 2026),)}
    assert filling(cut_off, status="error", command="build --full-refresh") == {}


def steps(*names: Step) -> tuple[RefreshStep, ...]:
    return tuple(RefreshStep(name, f"{name}.") for name in names)


def test_a_refresh_that_was_discarded_runs_again_as_a_whole() -> None:
    """Of two tables one was built aside; nothing of it is live."""
    chapter = run(result("a", "success"), result("b", "error"))
    discarded = replace(chapter, refresh=steps(Step.ASIDE, Step.BUILT, Step.DISCARDED))
    story = [PastRun(discarded, (planned("a"), planned("b")), SAME)]
    command = Command("build", flags=("--full-refresh",))
    found = choose(story, outcomes(discarded), commit(planned("a"), planned("b")), command, CLOCK)
    assert not found.nodes and not found.left_out
    assert "Nothing of run" in found.notes[0] and "built aside again" in found.notes[0]
    both = run(result("a", "success"), result("b", "success"), state=RunState.SUCCESS, id=OTHER)
    repaired = replace(both, refresh=steps(Step.ASIDE, Step.SWAPPED))
    story.append(PastRun(repaired, (planned("a"), planned("b")), SAME))
    with pytest.raises(NothingLeft):
        choose(story, outcomes(repaired), commit(planned("a"), planned("b")), command, CLOCK)


def test_batches_that_a_rerun_gave_back_are_gone_on_with() -> None:
    """One has filled none, another was cancelled; what a third one dropped is built again."""
    begun = RefreshStep(Step.BATCHES, "Fills.", node="model.shop.a", windows=(year(2022, 2026),))
    filled = RefreshStep(Step.BATCH, "Filled.", node="model.shop.a", windows=(year(2022, 2024),))
    failed, later = run(result("a", "error")), run(result("a", "error"), id=OTHER)
    first = replace(failed, refresh=(*steps(Step.ASIDE), begun, filled))
    back = replace(later, refresh=(*steps(Step.ASIDE, Step.RESUMABLE), begun))
    cut_off = replace(back, state=RunState.CANCELLED, refresh=steps(Step.ASIDE))
    dropped = replace(back, refresh=steps(Step.ASIDE, Step.DISCARDED))
    command = Command("build", flags=("--full-refresh",))

    def chosen(*reruns: Run) -> Rerun:
        story = [PastRun(chapter, (planned("a"),), SAME) for chapter in (first, *reruns)]
        return choose(story, outcomes(first), commit(planned("a")), command, CLOCK)

    for reruns in ((), (back,), (back, cut_off)):
        found = chosen(*reruns)
        assert found.resume == ROOT
        (left,) = found.gaps.values()
        assert left[0] == year(2024, 2026)
    assert not chosen(back, dropped).resume


def test_of_a_refresh_that_was_swapped_in_only_what_failed_runs_again() -> None:
    chapter = run(result("a", "success"), result("b", "error"))
    swapped = replace(chapter, refresh=steps(Step.ASIDE, Step.SWAPPED))
    story = [PastRun(swapped, (planned("a"), planned("b")), SAME)]
    command = Command("build", flags=("--full-refresh",))
    found = choose(story, outcomes(swapped), commit(planned("a"), planned("b")), command, CLOCK)
    assert list(found.nodes) == ["model.shop.b"]
