"""A large answer is written as any other JSON is."""

from __future__ import annotations

import json

import pytest
from fastapi.responses import JSONResponse

from mage_dbt.model.run import RunState
from mage_dbt.server.large_json import LargeJson, PartlyWritten


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"name": "매출 <b>&\u2028\"'\\ \n", "seconds": [0.1, 20.0, 1e-9], "rows": 10**15},
        {"state": RunState.SUCCESS, "nodes": [], "detail": "", "ok": True, "none": None},
    ],
)
def test_it_says_the_same(data: object) -> None:
    assert json.loads(bytes(LargeJson(data).body)) == json.loads(bytes(JSONResponse(data).body))


def test_what_json_has_no_word_for_is_null() -> None:
    assert LargeJson([float("nan"), float("inf")]).body == b"[null,null]"


def test_what_is_json_already_stands_among_the_other_fields() -> None:
    nodes = '[{"name": "매출", "seconds": 0.1}]'
    partly = PartlyWritten({"id": "a"}, {"nodes": nodes, "more": "[]"}) | {"explanation": None}
    assert json.loads(bytes(LargeJson(partly).body)) == {
        "id": "a",
        "nodes": [{"name": "매출", "seconds": 0.1}],
        "more": [],
        "explanation": None,
    }
