"""Which columns of a test's rows are hidden."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dbt.contracts.graph.manifest import Manifest

from mage_dbt.dbt.results.failing_rows import query_of
from mage_dbt.dbt.results.hidden_columns import HiddenColumns

MODEL = "model.shop.people"


def hidden(names: list[str], column: str = "", model: Any = None, **columns: Any) -> list[str]:
    """Those of `names` that a test of `column` hides; `columns` are those of the model's YAML."""
    manifest = Manifest()
    manifest.nodes[MODEL] = SimpleNamespace(
        columns={
            name: SimpleNamespace(**{"name": name, "tags": [], "meta": {}, **said})
            for name, said in columns.items()
        },
        **(model or {}),
    )
    test = SimpleNamespace(
        column_name=column or None, depends_on=SimpleNamespace(nodes=[MODEL, "model.shop.gone"])
    )
    return HiddenColumns(manifest, test).among(names)


@pytest.mark.parametrize(
    "name",
    [
        *("password", "user_passwd", "API_KEY", "apiKey", "token", "refresh_token", "secret"),
        *("ssn", "customer_ssn", "card_number", "card", "cvv", "iban", "passport_no", "pin"),
        *("private_key", "pwd", "password_hash", "주민등록번호", "비밀번호"),
    ],
)
def test_names_of_secrets_are_hidden(name: str) -> None:
    assert hidden([name]) == [name]


@pytest.mark.parametrize(
    "name", ["id", "name", "discard", "cardinality", "key", "spin", "pinned_at", "hashtag", "mail"]
)
def test_ordinary_names_are_shown(name: str) -> None:
    assert hidden([name]) == []


@pytest.mark.parametrize(
    "said",
    [
        {"tags": ["pii"]},
        {"meta": {"contains_pii": True}},
        {"meta": {"classification": "Sensitive"}},
        {"meta": {"policies": ["gdpr", "hidden"]}},
        {"config": SimpleNamespace(meta={"secret": "yes"}, tags=[])},
        {"config": SimpleNamespace(meta={}, tags=["data:sensitive"])},
    ],
)
def test_tags_and_meta_of_a_column_hide_it(said: dict[str, Any]) -> None:
    assert hidden(["id", "Mail"], mail=said) == ["Mail"]


def test_meta_that_says_no_hides_nothing() -> None:
    assert hidden(["mail"], mail={"meta": {"pii": False, "owner": "finance"}}) == []


def test_a_model_that_is_tagged_hides_all_its_columns() -> None:
    assert hidden(["id", "name"], model={"tags": ["pii"]}) == ["id", "name"]


def test_a_hidden_column_under_another_name_is_hidden() -> None:
    known = {"mail": {"tags": ["pii"]}, "id": {}}
    assert hidden(["unique_field", "n_records", "id"], "mail", **known) == [
        "unique_field",
        "n_records",
    ]
    assert hidden(["unique_field", "n_records"], "id", **known) == []


def a_not_null(query: str, column: str) -> Any:
    metadata = SimpleNamespace(namespace=None, name="not_null")
    return SimpleNamespace(compiled_code=query, column_name=column, test_metadata=metadata)


def test_of_not_null_whole_rows_are_read() -> None:
    query = "\n\nselect name\nfrom t\nwhere name is null\n"
    assert query_of(a_not_null(query, "name")) == query.replace("select name", "select *")
    assert query_of(a_not_null(query, "other")) == query
