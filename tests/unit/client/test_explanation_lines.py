"""The causes of a failed run as the tool shows them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from mage_dbt.base.clock import Clock
from mage_dbt.client.explanation_lines import causes_of
from mage_dbt.model import plain_words
from mage_dbt.model.explanation import Cause, Explanation, FailedNode
from mage_dbt.model.failure import FailureClass

CLOCK = Clock(ZoneInfo("Asia/Seoul"))


def lines(cause: Cause, left: int, gone: int = 0) -> list[str]:
    return [line.strip() for line in causes_of(Explanation("x", (cause,), left, gone=gone), CLOCK)]


def test_what_dbt_metric_no_longer_has_is_said_to_be_gone() -> None:
    nodes = tuple(
        FailedNode(f"model.m.{name}", name, "model", f"models/{name}.sql", "x", gone=name == "old")
        for name in ("old", "new")
    )
    text = lines(Cause(FailureClass.CODE, "42703", "t", "s", nodes), left=1, gone=1)
    assert "failed    old (models/old.sql), which dbt-metric no longer has" in text
    assert "new (models/new.sql)" in text
    assert text[-1] == "1 node left, 1 no longer in dbt-metric."
    over = lines(Cause(FailureClass.CODE, "42703", "t", "s", nodes), left=0, gone=1)
    assert over[-1] == "All else of it has passed since; 1 no longer in dbt-metric."


def test_many_tables_that_are_missing_are_one_cause_with_their_list() -> None:
    nodes = tuple(
        FailedNode(f"model.m.s{n}", f"s{n}", "model", "", "x", object=f"raw.t{n}") for n in range(4)
    )
    cause = Cause(FailureClass.CODE, "42P01", 'relation "raw.t0" does not exist', "s", nodes)
    assert plain_words.sentence(cause) == (
        "4 tables that dbt-metric reads are not in the warehouse."
    )
    text = lines(cause, left=4)
    assert "failed    s0: raw.t0" in text and "s3: raw.t3" in text
    assert cause.title not in text
