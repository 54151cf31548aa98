"""Draws nodes and what they read, from left to right: boxes and lines with their places.

A node stands one layer to the right of the last one that it reads (longest path). Within a layer
nodes are ordered by the barycentre of what they are connected to, so that few lines cross; a line
over several layers has a place in each of them. `lineage.html` makes SVG of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from unicodedata import east_asian_width

MOST_BOXES = 60
MOST_IN_A_LAYER = 14
"""Boxes that are drawn; the others of a layer share one box, which says how many they are."""

BOX_WIDTH, BOX_HEIGHT = 176, 42
LINE_HEIGHT = 8
"""Of the place that a line has in a layer which it passes."""
COLUMN_GAP, ROW_GAP = 44, 12
MARGIN = 4

NAME_COLUMNS = 22
"""Columns of text in a box; an East Asian letter takes two."""

SWEEPS = 6
"""Passes over the layers; later ones change hardly anything."""


@dataclass(frozen=True)
class Shown:
    """A node to draw."""

    node: str
    name: str
    type: str


@dataclass(frozen=True)
class Mark:
    """What a box says beside its name."""

    status: str = ""
    """dbt's; gives the colour and a word."""
    note: str = ""
    """Words that stand there instead, in the reader's language."""
    focus: bool = False
    """Whether it is what the picture is about."""


@dataclass(frozen=True)
class Box:
    """A box at its place; without a node it stands for `more` others."""

    node: str
    name: str
    text: str
    """The name, cut to what the box has room for."""
    type: str
    mark: Mark
    x: float
    y: float
    more: int = 0


@dataclass(frozen=True)
class Lineage:
    """A picture."""

    width: float = 0
    height: float = 0
    boxes: tuple[Box, ...] = ()
    lines: tuple[str, ...] = ()
    """SVG paths."""
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


@dataclass(eq=False)
class _Item:
    """Something with a place in a layer: a node, the rest of a layer, or a line that passes."""

    layer: int
    node: Shown | None = None
    more: int = 0
    before: list[_Item] = field(default_factory=list)
    after: list[_Item] = field(default_factory=list)
    place: float = 0
    y: float = 0

    @property
    def is_line(self) -> bool:
        return self.node is None and not self.more

    @property
    def height(self) -> int:
        return LINE_HEIGHT if self.is_line else BOX_HEIGHT


def lineage(
    nodes: Sequence[Shown], edges: Iterable[tuple[str, str]], marks: Mapping[str, Mark]
) -> Lineage:
    """Places `nodes`, the most important first; an edge is what is read and who reads it.

    Edges of nodes that are not among them are left out.
    """
    if not nodes:
        return Lineage()
    names = {shown.node for shown in nodes}
    reads: dict[str, list[str]] = {node: [] for node in names}
    for read, reader in dict.fromkeys(edges):
        if read in names and reader in names and read != reader:
            reads[reader].append(read)
    layers = layers_of(reads)
    items = _items(nodes, layers)
    connected = dict.fromkeys(
        (id(items[read]), id(items[reader]))
        for reader, found in reads.items()
        for read in found
        if layers[read] < layers[reader]
    )
    by_id = {id(item): item for item in items.values()}
    columns: list[list[_Item]] = [[] for _ in range(max(layers.values()) + 1)]
    for item in by_id.values():
        columns[item.layer].append(item)
    passing: dict[tuple[int, int], _Item] = {}
    routes = [_route(by_id[read], by_id[reader], columns, passing) for read, reader in connected]
    _order(columns)
    height = _place(columns)
    return Lineage(
        width=2 * MARGIN + len(columns) * BOX_WIDTH + (len(columns) - 1) * COLUMN_GAP,
        height=height,
        boxes=tuple(_box(item, marks) for column in columns for item in column if not item.is_line),
        lines=tuple(_path(route) for route in routes),
    )


def layers_of(reads: Mapping[str, Collection[str]]) -> dict[str, int]:
    """By node, its layer: one more than the last of what it reads.

    What reads nothing stands just before the first that reads it. An edge that closes a circle
    does not count.
    """
    layers: dict[str, int] = {}
    at_work: set[str] = set()
    for start in reads:
        stack = [start]
        while stack:
            node = stack[-1]
            if node in layers:
                stack.pop()
                continue
            at_work.add(node)
            waiting = [read for read in reads[node] if read not in layers and read not in at_work]
            if waiting:
                stack += waiting
                continue
            layers[node] = max(
                (layers[read] + 1 for read in reads[node] if read in layers), default=0
            )
            at_work.discard(node)
            stack.pop()
    first_reader: dict[str, int] = {}
    for node, found in reads.items():
        for read in found:
            first_reader[read] = min(layers[node], first_reader.get(read, layers[node]))
    for node, found in reads.items():
        if not found and node in first_reader:
            layers[node] = max(first_reader[node] - 1, 0)
    return layers


def shortened(text: str, columns: int = NAME_COLUMNS) -> str:
    """The text, cut to so many columns; an East Asian letter takes two."""
    used = 0
    for place, letter in enumerate(text):
        used += 2 if east_asian_width(letter) in "WF" else 1
        if used > columns:
            return text[: max(place - 1, 1)].rstrip() + "…"
    return text


def _items(nodes: Sequence[Shown], layers: Mapping[str, int]) -> dict[str, _Item]:
    """By node, its item; those of a layer that are too many share one."""
    in_layer: dict[int, list[_Item]] = defaultdict(list)
    rest: dict[int, _Item] = {}
    items: dict[str, _Item] = {}
    drawn = 0
    for shown in nodes:
        layer = layers[shown.node]
        if drawn < MOST_BOXES and len(in_layer[layer]) < MOST_IN_A_LAYER:
            items[shown.node] = _Item(layer, shown)
            in_layer[layer].append(items[shown.node])
            drawn += 1
        else:
            items[shown.node] = rest.setdefault(layer, _Item(layer))
            rest[layer].more += 1
    return items


def _route(
    read: _Item,
    reader: _Item,
    columns: list[list[_Item]],
    passing: dict[tuple[int, int], _Item],
) -> list[_Item]:
    """The items from one to the other, with one in each layer between; lines from the same box go
    the same way (`passing`)."""
    route = [read]
    for layer in range(read.layer + 1, reader.layer):
        key = (id(read), layer)
        if key not in passing:
            passing[key] = _Item(layer)
            columns[layer].append(passing[key])
        route.append(passing[key])
    route.append(reader)
    for before, after in pairwise(route):
        if after not in before.after:
            before.after.append(after)
            after.before.append(before)
    return route


def _order(columns: list[list[_Item]]) -> None:
    """Orders each layer by the places of what its items are connected to."""
    for column in columns:
        _number(column)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        for column in columns if forth else reversed(columns):
            for item in column:
                near = item.before if forth else item.after
                if near:
                    item.place = sum(other.place for other in near) / len(near)
            column.sort(key=lambda item: (item.more > 0, item.place))
            _number(column)


def _number(column: list[_Item]) -> None:
    """Gives each item its place, between 0 and 1 so that long and short layers compare."""
    for place, item in enumerate(column):
        item.place = (place + 0.5) / len(column)


def _place(columns: list[list[_Item]]) -> float:
    """Gives each item its height in the picture; returns that of the picture."""
    heights = [
        sum(item.height for item in column) + ROW_GAP * (len(column) - 1) for column in columns
    ]
    whole = max(heights)
    for column, height in zip(columns, heights, strict=True):
        y = MARGIN + (whole - height) / 2
        for item in column:
            item.y = y
            y += item.height + ROW_GAP
    return whole + 2 * MARGIN


def _left(item: _Item) -> float:
    return MARGIN + item.layer * (BOX_WIDTH + COLUMN_GAP)


def _box(item: _Item, marks: Mapping[str, Mark]) -> Box:
    if item.node is None:
        return Box("", "", "", "", Mark(), _left(item), round(item.y, 1), item.more)
    shown = item.node
    return Box(
        shown.node,
        shown.name,
        shortened(shown.name),
        shown.type,
        marks.get(shown.node, Mark()),
        _left(item),
        round(item.y, 1),
    )


def _path(route: Sequence[_Item]) -> str:
    """A curve from the right side of the first box to the left side of the last one."""
    first = route[0]
    parts = [f"M{_left(first) + BOX_WIDTH:g} {first.y + first.height / 2:g}"]
    for before, after in pairwise(route):
        x1, y1 = _left(before) + BOX_WIDTH, before.y + before.height / 2
        x2, y2 = _left(after), after.y + after.height / 2
        bend = COLUMN_GAP / 2
        parts.append(f"C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}")
        if after.is_line:
            parts.append(f"H{x2 + BOX_WIDTH:g}")
    return "".join(parts)
