"""Where the boxes and lines of a lineage stand."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise

from mage_dbt.server.pages import lineage as drawing
from mage_dbt.server.pages.lineage import Lineage, Mark, Shown, layers_of, lineage, shortened


def drawn(edges: list[tuple[str, str]], **marks: Mark) -> Lineage:
    names = list(dict.fromkeys(node for edge in edges for node in edge))
    return lineage([Shown(name, name, "model") for name in names], edges, marks)


def columns_of(picture: Lineage) -> dict[str, float]:
    return {box.node: box.x for box in picture.boxes}


def test_what_is_read_stands_left_of_what_reads_it() -> None:
    picture = drawn([("raw", "stage"), ("stage", "orders"), ("raw", "orders"), ("orders", "total")])
    x = columns_of(picture)
    assert x["raw"] < x["stage"] < x["orders"] < x["total"]
    assert len({round(b - a) for a, b in pairwise(sorted(x.values()))}) == 1


def test_what_reads_nothing_stands_beside_its_first_reader() -> None:
    layers = layers_of({"a": [], "b": ["a"], "c": ["b"], "late": [], "d": ["c", "late"]})
    assert layers == {"a": 0, "b": 1, "c": 2, "late": 2, "d": 3}


def test_no_box_covers_another_and_all_are_inside_the_picture() -> None:
    chance = random.Random(7)
    edges = [
        (f"n{low}", f"n{high}")
        for low, high in (sorted(chance.sample(range(50), 2)) for _ in range(120))
    ]
    picture = drawn(edges)
    for box in picture.boxes:
        assert 0 <= box.x <= picture.width - picture.box_width
        assert 0 <= box.y <= picture.height - picture.box_height
        for other in picture.boxes:
            apart_x = abs(box.x - other.x) >= picture.box_width
            apart_y = abs(box.y - other.y) >= picture.box_height
            assert box is other or apart_x or apart_y


def test_lines_that_need_not_cross_do_not() -> None:
    # In the order of their names all three lines would cross.
    picture = drawn([("a", "z"), ("b", "y"), ("c", "x")])
    y = {box.node: box.y for box in picture.boxes}
    assert (y["a"], y["b"], y["c"]) == (y["z"], y["y"], y["x"])


def test_a_line_over_several_layers_passes_between_the_boxes() -> None:
    picture = drawn([("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")])
    (long,) = [line for line in picture.lines if "H" in line]
    heights = [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)(?=H)", long)]
    assert len(heights) == 2
    for box in picture.boxes:
        if box.node in ("b", "c"):
            assert not any(box.y <= y <= box.y + picture.box_height for y in heights)


def test_boxes_that_are_too_many_share_one_that_says_how_many() -> None:
    picture = drawn([("hub", f"reader_{place:04}") for place in range(4_000)])
    named = [box for box in picture.boxes if box.node]
    (rest,) = [box for box in picture.boxes if box.more]
    assert len(named) == 1 + drawing.MOST_IN_A_LAYER
    assert rest.more == 4_000 - drawing.MOST_IN_A_LAYER
    assert rest.y == max(box.y for box in picture.boxes)
    assert len(picture.lines) == drawing.MOST_IN_A_LAYER + 1


def test_no_picture_has_more_boxes_than_a_person_reads() -> None:
    edges = [(f"a{low}", f"b{high}") for low in range(30) for high in range(30)]
    edges += [(f"b{low}", f"c{high}") for low in range(30) for high in range(30)]
    edges += [(f"c{low}", f"d{high}") for low in range(30) for high in range(30)]
    edges += [(f"d{low}", f"e{high}") for low in range(30) for high in range(30)]
    picture = drawn(edges)
    assert sum(1 for box in picture.boxes if box.node) <= drawing.MOST_BOXES
    assert (
        sum(box.more for box in picture.boxes) + len([box for box in picture.boxes if box.node])
        == 150
    )


def test_the_most_important_nodes_have_boxes_of_their_own() -> None:
    nodes = [Shown("mine", "mine", "model")]
    nodes += [Shown(f"n{place}", f"n{place}", "model") for place in range(200)]
    edges = [("mine", f"n{place}") for place in range(200)]
    picture = lineage(nodes, edges, {"mine": Mark("error", focus=True)})
    (mine,) = [box for box in picture.boxes if box.mark.focus]
    assert mine.node == "mine"
    assert mine.mark.status == "error"


def test_a_circle_and_an_edge_to_nowhere_stop_nothing() -> None:
    picture = drawn([("a", "b"), ("b", "a"), ("a", "a")])
    assert {box.node for box in picture.boxes} == {"a", "b"}
    assert lineage([Shown("a", "a", "model")], [("b", "a"), ("a", "c")], {}).lines == ()
    assert lineage([], [], {}).boxes == ()


def test_long_names_are_cut_by_their_width() -> None:
    assert shortened("fct_orders") == "fct_orders"
    long = shortened("fct_" + "orders_" * 20)
    assert len(long) <= drawing.NAME_COLUMNS
    assert long.endswith("…")
    korean = shortened("주문" * 20)
    assert len(korean) <= drawing.NAME_COLUMNS / 2 + 1
    assert shortened("") == ""


def test_a_large_neighbourhood_is_placed_at_once() -> None:
    chance = random.Random(3)
    edges = [
        (f"n{low}", f"n{high}")
        for low, high in (sorted(chance.sample(range(400), 2)) for _ in range(2_000))
    ]
    began = time.process_time()
    picture = drawn(edges)
    assert picture.boxes
    assert time.process_time() - began < 15.0  # of CPU; it takes a fraction
