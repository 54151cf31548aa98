"""The timetable of a run as a drawing: lanes, bars, and an axis. A template makes SVG of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from mage_dbt.model.folded import TESTS
from mage_dbt.model.timeline import Bar, Timeline

MOST_BARS = 400
"""Bars that are drawn each; the others are drawn together, as blocks."""

MOST_BLOCKS = 300

MOST_LANES = 40

LEFT, WIDTH, RIGHT = 84.0, 960.0, 16.0

LANE, BAR, TOP = 36.0, 24.0, 8.0

NARROW_LANE, NARROW_BAR = 18.0, 13.0
"""With more than WIDE_LANES lanes."""

WIDE_LANES = 10

AXIS = 26.0

SMALLEST = 1.5
"""A bar that would be narrower is drawn this wide."""

CHARACTER = 6.6
"""The mean width of one in a bar's label."""

MOST_TICKS = 6

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
"""Seconds between two ticks."""


@dataclass(frozen=True)
class DrawnBar:
    """A node's bar."""

    bar: Bar
    x: float
    y: float
    width: float
    height: float
    kind: str
    """failed, critical or plain."""
    label: str
    """Empty where there is no room."""

    @property
    def is_test(self) -> bool:
        return self.bar.type in TESTS


@dataclass(frozen=True)
class Block:
    """Bars of one lane that are drawn together."""

    x: float
    y: float
    width: float
    height: float
    nodes: int


@dataclass(frozen=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True)
class Gantt:
    """The drawing."""

    width: float
    height: float
    axis_y: float
    lanes: tuple[tuple[float, int], ...]
    """The middle of each lane, and its number from 1."""
    bars: tuple[DrawnBar, ...]
    """In the order of their starts."""
    blocks: tuple[Block, ...]
    ticks: tuple[Tick, ...]
    merged: int
    """How many nodes the blocks stand for."""
    lanes_left: int
    """How many lanes are not drawn."""


def gantt(timeline: Timeline, zone: tzinfo, duration: Callable[[float], str]) -> Gantt | None:
    """Draws a timeline; None without bars. `duration` writes seconds for people."""
    if not timeline.bars:
        return None
    lanes = min(timeline.lanes, MOST_LANES)
    lane, height = (LANE, BAR) if lanes <= WIDE_LANES else (NARROW_LANE, NARROW_BAR)
    scale = WIDTH / max(timeline.ended - timeline.begun, 0.001)

    def x_of(moment: float) -> float:
        return LEFT + (moment - timeline.begun) * scale

    def y_of(number: int) -> float:
        return TOP + number * lane + (lane - height) / 2

    chosen = _chosen(timeline)
    drawn = []
    for bar in timeline.bars:
        if bar.node in chosen and bar.lane < lanes:
            width = max(bar.seconds * scale - 1, SMALLEST)
            critical = bar.node in timeline.critical_nodes
            drawn.append(
                DrawnBar(
                    bar=bar,
                    x=round(x_of(bar.begun), 1),
                    y=round(y_of(bar.lane), 1),
                    width=round(width, 1),
                    height=height,
                    kind="failed" if bar.failed else "critical" if critical else "plain",
                    label=_label(bar, width, duration) if height == BAR else "",
                )
            )
    rest = [bar for bar in timeline.bars if bar.node not in chosen and bar.lane < lanes]
    blocks = tuple(
        Block(
            round(x_of(begun), 1),
            round(y_of(number), 1),
            round(max((ended - begun) * scale - 1, SMALLEST), 1),
            height,
            nodes,
        )
        for number, begun, ended, nodes in _blocks(rest, 4 / scale)
    )
    axis = TOP + lanes * lane
    return Gantt(
        width=LEFT + WIDTH + RIGHT,
        height=axis + AXIS,
        axis_y=axis + 18,
        lanes=tuple((TOP + number * lane + lane / 2 + 4, number + 1) for number in range(lanes)),
        bars=tuple(drawn),
        blocks=blocks,
        ticks=tuple(Tick(round(x_of(at), 1), label) for at, label in ticks(timeline, zone)),
        merged=len(rest),
        lanes_left=timeline.lanes - lanes,
    )


def ticks(timeline: Timeline, zone: tzinfo) -> list[tuple[float, str]]:
    """The moments on the axis: whole minutes or the like, with their labels."""
    span = timeline.ended - timeline.begun
    step = next((step for step in STEPS if span / step <= MOST_TICKS), 86_400)
    offset = datetime.fromtimestamp(timeline.begun, zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    first = -(-(timeline.begun + shift) // step) * step - shift
    form = "%H:%M:%S" if step < 60 else "%H:%M"
    found = []
    at = first
    while at <= timeline.ended:
        found.append((at, datetime.fromtimestamp(at, zone).strftime(form)))
        at += step
    return found or [
        (timeline.begun, datetime.fromtimestamp(timeline.begun, zone).strftime("%H:%M:%S"))
    ]


def _chosen(timeline: Timeline) -> set[str]:
    """The nodes with a bar of their own: what failed, the critical path, then the longest."""
    if len(timeline.bars) <= MOST_BARS:
        return {bar.node for bar in timeline.bars}
    ranked = sorted(
        timeline.bars,
        key=lambda bar: (bar.node not in timeline.critical_nodes, not bar.failed, -bar.seconds),
    )
    return {bar.node for bar in ranked[:MOST_BARS]}


def _blocks(bars: Sequence[Bar], gap: float) -> list[tuple[int, float, float, int]]:
    """Lane, begin, end and count of bars that stand `gap` seconds apart at most; a wider gap where
    that would be too many blocks."""
    while True:
        found = list(_joined(bars, gap))
        if len(found) <= MOST_BLOCKS:
            return found
        gap *= 2


def _joined(bars: Iterable[Bar], gap: float) -> Iterator[tuple[int, float, float, int]]:
    by_lane: defaultdict[int, list[Bar]] = defaultdict(list)
    for bar in bars:
        by_lane[bar.lane].append(bar)
    for number, inside in by_lane.items():
        begun, ended, nodes = inside[0].begun, inside[0].ended, 0
        for bar in inside:
            if bar.begun > ended + gap:
                yield number, begun, ended, nodes
                begun, nodes = bar.begun, 0
            ended, nodes = max(ended, bar.ended) if nodes else bar.ended, nodes + 1
        yield number, begun, ended, nodes


def _label(bar: Bar, width: float, duration: Callable[[float], str]) -> str:
    """The name, with the time where there is room for it."""
    room = int((width - 14) / CHARACTER)
    whole = f"{bar.name} {duration(bar.seconds)}"
    if len(whole) <= room:
        return whole
    return bar.name if len(bar.name) <= room else ""
