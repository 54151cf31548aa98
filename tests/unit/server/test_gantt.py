"""The timetable of a run: lanes, the critical path, and what is drawn of very many nodes."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from mage_dbt.model.timeline import Bar, Timeline
from mage_dbt.server.pages import gantt
from mage_dbt.server.pages.gantt import MOST_BARS, MOST_BLOCKS, MOST_LANES, Gantt

SEOUL = ZoneInfo("Asia/Seoul")

MORNING = 1_795_820_400.0
"""2026-11-28 08:00:00 in Seoul."""


def bar(name: str, begun: float, ended: float, status: str = "success", kind: str = "model") -> Bar:
    return Bar(f"{kind}.p.{name}", name, kind, status, MORNING + begun, MORNING + ended)


def reads(**names: str) -> dict[str, list[str]]:
    """By unique id of a model, what it reads."""
    return {
        f"model.p.{name}": [f"model.p.{read}" for read in names[name].split()] for name in names
    }


def drawn(timeline: Timeline) -> Gantt:
    found = gantt.gantt(timeline, SEOUL, lambda seconds: f"{seconds:g} s")
    assert found is not None
    return found


def test_a_node_takes_the_first_lane_that_is_free() -> None:
    found = Timeline.of([bar("a", 0, 10), bar("b", 1, 3), bar("c", 3, 5), bar("d", 4, 6)], {})
    assert {one.name: one.lane for one in found.bars} == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert found.lanes == 3
    assert found.at_once == (10 + 2 + 2 + 2) / 10


def test_the_critical_path_is_the_longest_chain_of_nodes_that_waited_for_each_other() -> None:
    bars = [bar("a", 0, 10), bar("b", 0, 4), bar("c", 10, 12), bar("d", 12, 20), bar("e", 4, 11)]
    found = Timeline.of(bars, reads(c="a b", d="c", e="b"))
    assert [one.name for one in found.critical] == ["a", "c", "d"]
    assert found.critical_seconds == 20
    assert found.slowest and found.slowest.name == "a"


def test_a_model_waits_for_the_tests_of_what_it_reads() -> None:
    check = bar("check", 2, 9, "pass", "test")
    late = bar("late", 2, 30, "pass", "test")
    graph = {**reads(b="a"), check.node: ["model.p.a"], late.node: ["model.p.a"]}
    found = Timeline.of([bar("a", 0, 2), check, late, bar("b", 9, 25)], graph)
    assert [one.name for one in found.critical] == ["a", "late"], "28 s and 2 s"
    found = Timeline.of([bar("a", 0, 2), check, bar("b", 9, 25)], graph)
    assert [one.name for one in found.critical] == ["a", "check", "b"]


def test_a_bar_that_did_not_wait_for_what_it_reads_is_no_chain() -> None:
    found = Timeline.of([bar("a", 0, 10), bar("b", 3, 5)], reads(b="a"))
    assert [one.name for one in found.critical] == ["a"]


def test_what_failed_is_red_and_the_critical_path_dark() -> None:
    bars = [bar("a", 0, 60), bar("b", 60, 120, "error"), bar("c", 0, 5)]
    kinds = {one.bar.name: one.kind for one in drawn(Timeline.of(bars, reads(b="a"))).bars}
    assert kinds == {"a": "critical", "b": "failed", "c": "plain"}


def test_a_bar_has_its_name_where_there_is_room() -> None:
    bars = [bar("fct_sessions", 0, 130), bar("dim", 130, 131), bar("a_long_name", 131, 145)]
    labels = {one.bar.name: one.label for one in drawn(Timeline.of(bars, {})).bars}
    assert labels == {"fct_sessions": "fct_sessions 130 s", "dim": "", "a_long_name": "a_long_name"}


def test_the_axis_has_whole_minutes_of_the_teams_zone() -> None:
    assert [label for _, label in gantt.ticks(Timeline.of([bar("a", -10, 252)], {}), SEOUL)] == [
        "08:00",
        "08:01",
        "08:02",
        "08:03",
        "08:04",
    ]
    adelaide = ZoneInfo("Australia/Adelaide")  # half an hour apart from Seoul's
    hours = gantt.ticks(Timeline.of([bar("a", 0, 5 * 3600)], {}), adelaide)
    assert [label for _, label in hours] == ["10:00", "11:00", "12:00", "13:00", "14:00"]
    assert gantt.ticks(Timeline.of([bar("a", 0.2, 0.4)], {}), SEOUL)[0][1] == "08:00:00"


def test_of_very_many_nodes_the_short_ones_are_drawn_together() -> None:
    bars = [bar(f"n{place}", place // 8 * 0.2, place // 8 * 0.2 + 0.1) for place in range(15_000)]
    bars += [bar("slow", 0, 300), bar("broken", 100, 100.1, "error")]
    bars += [bar(f"chain{place}", place * 50, place * 50 + 1) for place in range(5)]
    chain = reads(**{f"chain{place}": f"chain{place - 1}" for place in range(1, 5)})
    found = drawn(Timeline.of(bars, chain))
    names = {one.bar.name for one in found.bars}
    assert len(found.bars) == MOST_BARS
    assert {"slow", "broken"} <= names
    assert found.merged == len(bars) - MOST_BARS
    assert sum(block.nodes for block in found.blocks) == found.merged
    assert 0 < len(found.blocks) <= MOST_BLOCKS


def test_blocks_of_one_lane_do_not_reach_over_a_pause() -> None:
    bars = [bar(f"n{place}", place * 0.01, place * 0.01 + 0.005) for place in range(500)]
    bars += [bar(f"m{place}", 100 + place * 0.01, 100.005 + place * 0.01) for place in range(500)]
    found = drawn(Timeline.of(bars, {}))
    assert len(found.blocks) == 2
    first, second = sorted(found.blocks, key=lambda block: block.x)
    assert first.x + first.width < second.x - 800


def test_more_lanes_than_can_be_drawn_are_counted() -> None:
    found = drawn(Timeline.of([bar(f"n{place}", 0, 10) for place in range(100)], {}))
    assert len(found.lanes) == MOST_LANES
    assert found.lanes_left == 100 - MOST_LANES


def test_a_run_without_executed_nodes_has_no_timetable() -> None:
    assert gantt.gantt(Timeline.of([], {}), SEOUL, str) is None
