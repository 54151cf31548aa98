"""A body that is refused says which field, and what is expected there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mage_dbt.errors import RequestError
from mage_dbt.model.body import PATTERNS, PLAIN, Body
from mage_dbt.model.schedule_change import ScheduleRequest
from mage_dbt.server import schemas


def bodies(kind: type[Body] = Body) -> Iterator[type[Body]]:
    for body in kind.__subclasses__():
        yield body
        yield from bodies(body)


def test_each_pattern_of_a_field_has_words_that_say_what_is_expected() -> None:
    known = list(bodies())
    assert {ScheduleRequest, schemas.Decision} <= set(known)
    for body in known:
        for name, field in body.model_json_schema()["properties"].items():
            for part in (field, *field.get("anyOf", ())):
                assert part.get("pattern", PLAIN) in PATTERNS, f"{body.__name__}.{name}"


@pytest.mark.parametrize("given", ["25:00", "24:00", "7:5", "8", "08:00 ", "08:00\n", ""])
def test_what_is_no_time_of_day_is_told_so(given: str) -> None:
    with pytest.raises(RequestError, match="`build_at` is a time of day from 00:00 to 23:59"):
        ScheduleRequest.read({"build_at": given})


def test_a_line_break_is_told_so() -> None:
    with pytest.raises(RequestError, match="`why` holds a line break"):
        ScheduleRequest.read({"why": "a\nb"})
