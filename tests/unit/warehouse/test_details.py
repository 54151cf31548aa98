"""What PostgreSQL quotes with an error of a constraint, without values of hidden columns."""

from __future__ import annotations

import pytest

from mage_dbt.warehouse.details import without_copied_line, without_hidden


def hides(name: str) -> bool:
    return name in ("api_token", "Card No")


@pytest.mark.parametrize(
    ("sqlstate", "detail", "shown"),
    [
        ("23505", "Key (id)=(7) already exists.", "Key (id)=(7) already exists."),
        (
            "23505",
            "Key (api_token)=(sk_1) is duplicated.",
            "Key (api_token)=(*****) is duplicated.",
        ),
        (
            "23505",
            "Schlüssel »(api_token)=(sk_1)« ist da.",
            "Schlüssel »(api_token)=(*****)« ist da.",
        ),
        (
            "23505",
            "키 (id, api_token)=(7, sk_1) 이미 있음",
            "키 (id, api_token)=(7, *****) 이미 있음",
        ),
        ("23505", "Key (id, api_token)=(7, a, b) is.", "Key (id, api_token)=(*****) is."),
        ("23505", "Key (api_token)=(a)=(b), c) is.", "Key (api_token)=(*****) is."),
        ("23505", 'Key ("Card No")=(4111) is.', 'Key ("Card No")=(*****) is.'),
        (
            "23505",
            "Key (lower(api_token::text))=(x) is.",
            "Key (lower(api_token::text))=(*****) is.",
        ),
        (
            *("23505", "Key (replace(api_token, ')'::text, ''::text), id)=(x, 7) is."),
            "Key (replace(api_token, ')'::text, ''::text), id)=(*****, 7) is.",
        ),
        (
            *("23503", 'Key (api_token)=(sk_1) is not present in table "t(1)".'),
            'Key (api_token)=(*****)".',
        ),
        (
            *("23P01", "Key (id, api_token)=(7, a) conflicts with existing key"),
            "Key (id, api_token)=(7, *****) conflicts with existing key",
        ),
        (
            "23P01",
            "Key (api_token)=(a) conflicts with (api_token)=(b).",
            "Key (api_token)=(*****).",
        ),
        ("23502", "Failing row contains (7, sk_1, null).", "Failing row contains (*****)."),
        ("23514", "Failing row contains (7, x)=(y, sk_1).", "Failing row contains (*****)."),
        ("44000", "Zeile enthält (7, sk_1).", "Zeile enthält (*****)."),
        ("23502", "Failing row contains (7, (sk_1", "Failing row contains (*****"),
        ("23505", "Key (a)b(sk_1", "Key (*****"),
        ("23505", "Duplicate keys exist.", "Duplicate keys exist."),
        ("42P01", "There is (api_token)=(x).", "There is (api_token)=(x)."),
    ],
)
def test_values_of_hidden_columns_and_whole_rows_are_hidden_in_any_language(
    sqlstate: str, detail: str, shown: str
) -> None:
    assert without_hidden(detail, sqlstate, hides) == shown


def test_the_line_of_a_file_that_copy_could_not_take_is_hidden() -> None:
    copied = 'COPY t, line 2: "7,sk_1\n,x"'
    assert without_copied_line(copied, "23502") == "COPY t, line 2: *****"
    assert without_copied_line("SQL function f", "23502") == "SQL function f"
