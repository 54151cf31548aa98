"""Variables come back from every border as they went in."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mage_dbt.errors import BadVariable, RequestError
from mage_dbt.mage import arguments
from mage_dbt.model.request import Request, RunRequest
from mage_dbt.model.variables import from_json, read, to_json, to_yaml
from mage_dbt.tool.command_line import command_line
from mage_dbt.tool.request_verbs import parse_request

HARD: dict[str, Any] = {
    "label": "🚀 launch: #1 'quoted' \"twice\"\n\ttab \\ 서울 \u2028 end ",
    "like_a_number": "007",
    "like_a_date": "2026-01-31",
    "empty": "",
    "nothing": None,
    "yes": True,
    "whole": 12345678901234567890,
    "small": 1.5,
    "large": 1e22,
    "minus": -0.0,
    "endless": float("inf"),
    "day": date(2026, 2, 3),
    "at": datetime(2026, 1, 31, 8),
    "there": datetime(2026, 1, 31, 8, tzinfo=UTC),
    "days": [date(2026, 1, 1), "x", [1, 2]],
    "opt": {"from": date(2026, 1, 1), "to": {"z": 1, "a": 2}},
    "in_order": {"zz": 1, "a": 2},
    "numbered": {1: "one", 2: "two"},
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("name", HARD)
def test_dbt_and_a_rerun_read_a_variable_as_it_was_given(name: str) -> None:
    given = {name: HARD[name]}
    assert repr(read(given)) == repr(given)
    assert repr(yaml.safe_load(to_yaml(given))) == repr(given)  # what dbt does with --vars
    kept = json.loads(json.dumps(to_json(given), sort_keys=True))  # jsonb keeps no order either
    assert repr(from_json(kept)) == repr(given)
    again = Request.parse(json.loads(json.dumps(Request.parse({"variables": given}).to_body())))
    assert repr(dict(again.variables)) == repr(given)


def test_what_json_holds_stays_an_object() -> None:
    plain = {"a": 1, "b": [True, None, "x"], "c": {"d": 0.5}}
    assert to_json(plain) == plain
    assert to_json({"day": date(2026, 2, 3)}) == "day: 2026-02-03\n"
    assert to_yaml({"b": 1, "a": 2}) == to_yaml({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("a: [", "cannot be read.*line 1"),
        ("day: 2026-13-45", "cannot be read: month"),
        ("- a", "names with values"),
        ({"a": {1, object()}}, "variable 'a'"),
        ({"a": ["x\x00"]}, "variable 'a' holds what is no character"),
        ({"a": {"\ud83d": 1}}, "variable 'a' holds what is no character"),
        ('a: "\\0"', "variable 'a' holds what is no character"),
        ("a: &a [*a]", "more than 10000 values"),
        (
            "\n".join(
                ["a: &x0 [1, 1, 1, 1, 1]"]
                + [f"b{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12)]
            ),
            "more than 10000 values",
        ),
        ("a: " + "x" * 30_000, "too long"),
    ],
)
def test_what_dbt_could_not_read_back_is_refused_by_name(given: object, says: str) -> None:
    with pytest.raises(BadVariable, match=f"(?s){says}"):
        read(given)


def test_form_api_and_tool_read_the_same_line_alike() -> None:
    wanted = {"day": date(2026, 2, 3), "days": [date(2026, 1, 1)], "label": "🚀"}
    text = "day: 2026-02-03\ndays: [2026-01-01]\nlabel: 🚀"
    assert arguments.variables({"variables": text}) == wanted
    body = RunRequest.model_validate({"variables": text}).model_dump(exclude_none=True)
    assert dict(Request.parse(body).variables) == wanted
    options = command_line().parse_args(
        ["run", *("--var", "day=2026-02-03", "--var", "days=[2026-01-01]", "--var", "label=🚀")]
    )
    assert dict(parse_request(options).variables) == wanted
    with pytest.raises(BadVariable, match=r"--var 'day=2026-13-45' cannot be read: month"):
        parse_request(SimpleNamespace(**{**vars(options), "var": ["day=2026-13-45"]}))


@pytest.mark.parametrize("value", [None, 99780000000, 8393474, 1.5, True, ["a"]])
def test_what_mages_page_has_made_of_a_typed_version_is_never_a_version(value: object) -> None:
    for name in ("commit", "failed_run", "model", "command"):
        with pytest.raises(RequestError, match=f"`{name}` has come as .*double quotes"):
            arguments.text({name: value}, name)
    assert arguments.text({}, "commit") == arguments.text({"commit": " "}, "commit") == ""
    assert arguments.text({"commit": "535e545"}, "commit") == "535e545"


def test_what_mages_page_may_have_made_of_another_number_is_no_variable() -> None:
    mapping = {"a": 1, "b": [0.5, "x"]}
    assert arguments.variables({"variables": mapping}) == mapping
    assert arguments.variables({}) == arguments.variables({"variables": ""}) == {}
    for value in (None, [None], {"b": None}, 12345678901234567000, 1e300):
        with pytest.raises(BadVariable, match="variable 'a' has come as"):
            arguments.variables({"variables": {"a": value}})
    for given in (None, 7, 0, False, [1]):
        with pytest.raises(BadVariable):
            arguments.variables({"variables": given})


def test_a_misspelt_switch_is_refused_and_free_text_is_taken_as_it_comes() -> None:
    assert arguments.switch({"preview": "Yes"}, "preview", False)
    assert not arguments.switch({"preview": 0}, "preview", True)
    assert arguments.switch({}, "preview", True) and not arguments.switch({}, "preview", False)
    assert arguments.switch({"preview": " TRUE "}, "preview", False)
    assert arguments.words({"why": 42}, "why") == "42"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ture", "'ture'"),
        ("", "empty"),
        (None, "null, as Mage's page sent it"),
        (2, "2, as Mage's page sent it"),
        (-1, "-1"),
        (1.5, "1.5"),
        ([], r"\[\]"),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_a_switch_that_is_neither_true_nor_false_is_refused(value: object, said: str) -> None:
    for default in (True, False):
        with pytest.raises(RequestError, match=f"`preview` is true or false, not {said}"):
            arguments.switch({"preview": value}, "preview", default)
