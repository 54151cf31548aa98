"""The card of a cause, made without a runner."""

from __future__ import annotations

import re
from types import SimpleNamespace

from mage_dbt.model.explanation import Cause, FailedNode
from mage_dbt.model.failure import FailureClass
from mage_dbt.server.pages import rendering


def test_the_card_of_many_objects_says_which_of_their_users_are_gone() -> None:
    users = [("a", "x", False), ("a", "y", True), ("b", "z", True), ("c", "w", False)]
    nodes = tuple(
        FailedNode(f"model.m.{name}", name, "model", "", "m", gone=gone, object=of)
        for of, name, gone in users
    )
    cause = Cause(FailureClass.CODE, "42P01", 'relation "a" does not exist', "s", nodes)
    formats = SimpleNamespace(names=lambda names, most: ", ".join(names[:most]))
    template = rendering.environment("en").get_template("cause_card.html")
    macros = template.make_module({"formats": formats})
    items = [
        " ".join(re.sub(r"<[^>]+>", " ", item).split())
        for item in str(macros.objects_list(cause, "cause-1")).split("</li>")  # type: ignore[attr-defined]
    ]
    assert items[:3] == [
        "a used by x used by y no longer in dbt-metric",
        "b used by z no longer in dbt-metric",
        "c used by w",
    ]
